"""Claims on Figure 1: how much the transfer gradient changes between two inner steps."""

import math
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator

from multistep import stats
from multistep.pages import claims
from multistep.pages.spec import TransferCells
from multistep.plan.schema import Params


def _span(ends: list[float]) -> list[float]:
    if len(ends) != 2 or not 0 <= ends[0] < ends[1] <= 1:
        raise ValueError("from where to where, as shares of training: [0.0, 0.1]")
    return ends


Span = Annotated[list[float], AfterValidator(_span)]


class Spec(claims.OfMethod):
    """The mean over a part of training of ‖g₂ - g₁‖ / ‖g₂‖, of all that the gradient moves.

    `during`: from where to where, as shares of training; `relative_to`: the part whose mean it is
    divided by, if any.
    """

    cells: TransferCells
    during: Span
    relative_to: Span | None = None

    def mistakes(self, params: Params | None = None) -> list[str]:
        found = super().mistakes(params)
        if params is None or found:
            return found
        for experiment, _, method in self.wants().cells:
            steps = claims.inner_steps(params, experiment, method)
            if steps is not None and steps < 2:
                takes = f"takes {steps} inner steps in {experiment}"
                found.append(f"method: {method} {takes}, and the change is between two")
        return list(dict.fromkeys(found))

    def parts(self, scale: claims.Scale) -> Iterator[claims.Part]:
        for name, runs in self.runs(scale):
            spans = [self.during] if self.relative_to is None else [self.during, self.relative_to]
            points = [[_during(run, span) for span in spans] for _, run in runs]
            if not runs or not all(map(all, points)):
                why = "no result" if not runs else "too short a run to have that part of training"
                yield claims.Part(name, missing=why)
                continue
            means = [[sum(part) / len(part) for part in run] for run in points]
            values = [m[0] if len(m) == 1 else math.log(m[0] / m[1]) for m in means]
            estimate = stats.sampled(values, "seeds", ratio=self.relative_to is not None)
            yield claims.Part(name, estimate, tuple(file for file, _ in runs))


def _during(run: dict[str, Any], during: list[float]) -> list[float]:
    """The points of a run in this part of its training; short runs may have none."""
    points = [point for entry in run["history"] for point in entry.get("drift") or []]
    last = points[-1][0] if points else 0
    return [p[1] for p in points if during[0] * last < p[0] <= during[1] * last]
