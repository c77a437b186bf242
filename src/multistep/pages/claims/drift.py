"""Claims on Figure 1: how much the transfer gradient changes between two inner steps."""

from __future__ import annotations

import math
from typing import Any

from multistep import stats
from multistep.pages import claims
from multistep.pages.spec import Dataset, Experiment, Method, Wants


class Spec(claims.Claim):
    """The mean over a part of training of ‖g₂ - g₁‖ / ‖g₂‖, of all that the gradient moves.

    `during`: from where to where, as shares of training; `relative_to`: the part whose mean it is
    divided by, if any.
    """

    cells: dict[Dataset, list[Experiment]]
    method: Method
    during: list[float]
    relative_to: list[float] | None = None

    def wants(self) -> Wants:
        return Wants([(e, d, self.method) for d, of in self.cells.items() for e in of])

    def parts(self, scale: claims.Scale) -> list[claims.Part]:
        found = []
        for experiment, dataset, method in self.wants().cells:
            name = f"{scale.method_title(method)}, {scale.cell_title(experiment, dataset)}"
            runs = list(scale.runs(experiment, dataset, method).values())
            if not runs or not all(run["drift"] for _, run in runs):
                found.append(claims.Part(name, missing="no result"))
                continue
            values = [_mean(run, self.during) for _, run in runs]
            if self.relative_to is not None:
                pairs = zip(values, runs, strict=True)
                values = [math.log(v / _mean(run, self.relative_to)) for v, (_, run) in pairs]
            estimate = stats.sampled(values, "seeds", ratio=self.relative_to is not None)
            found.append(claims.Part(name, estimate, tuple(file for file, _ in runs)))
        return found


def _mean(run: dict[str, Any], during: list[float]) -> float:
    """Over the points of a run in this part of its training."""
    last = run["drift"][-1][0]
    points = [p[1] for p in run["drift"] if during[0] * last < p[0] <= during[1] * last]
    return sum(points) / len(points)
