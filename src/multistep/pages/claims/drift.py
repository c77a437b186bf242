"""Claims on Figure 1: how much the transfer gradient changes between two inner steps."""

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
            if not runs or not all(map(_drift, (run for _, run in runs))):
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
    points = _drift(run)
    last = points[-1][0]
    found = [p[1] for p in points if during[0] * last < p[0] <= during[1] * last]
    return sum(found) / len(found)


def _drift(run: dict[str, Any]) -> list[Any]:
    return [point for entry in run["history"] for point in entry.get("drift") or []]
