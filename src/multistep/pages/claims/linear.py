"""Claims that time grows linearly with the number of inner steps."""

from collections.abc import Iterator
from typing import ClassVar, Self

import numpy as np
from pydantic import model_validator

from multistep import stats
from multistep.pages import claims
from multistep.pages.claims import cost
from multistep.pages.spec import Cells, Method, Wants
from multistep.plan.schema import Params


class Spec(claims.Claim):
    """How far each measured time lies from the line through all, in steps of that line.

    `methods`: of transfer, by their inner steps; of few-shot one, timed with each of `steps`.
    """

    unit: ClassVar[str] = " steps"
    cells: Cells
    methods: dict[Method, list[int]]

    @model_validator(mode="after")
    def _has_a_line(self) -> Self:
        steps = [n for of in self.methods.values() for n in of]
        if len({*steps}) < max(3, len(steps)) or 1 < len(self.methods) < len(steps):
            raise ValueError("a line takes three numbers of steps: of one method, or one of each")
        return self

    def wants(self) -> Wants:
        places = [(e, d) for d, of in self.cells.items() for e in of]
        return Wants(timed=[(*place, method) for place in places for method in self.methods])

    def mistakes(self, params: Params | None = None) -> list[str]:
        found = super().mistakes(params)
        if params is None or found or len(self.methods) == 1:
            return found
        for experiment, _, method in self.wants().timed:
            steps = claims.inner_steps(params, experiment, method)
            if steps not in (None, *self.methods[method]):
                found.append(f"methods.{method}: it takes {steps} inner steps in {experiment}")
        return list(dict.fromkeys(found))

    def untried(self, params: Params) -> set[str]:
        several, of = len(self.methods) > 1, next(iter(self.methods.values()))
        return {f"{n} steps" for n in of if not several and n not in params.measure.steps}

    def parts(self, scale: claims.Scale) -> Iterator[claims.Part]:
        for experiment, dataset in self.wants().measured:
            title = scale.cell_title(experiment, dataset)
            file, record = scale.measured(experiment, dataset)
            several = len(self.methods) > 1
            rows = {
                steps: cost.row_of(record, method, None if several else steps)
                for method, of in self.methods.items()
                for steps in of
            }
            names = [f"time at T = {n} off the line, {title}" for n in rows]
            timed = [row for row in rows.values() if row]
            if len(timed) < len(rows):
                yield from (claims.Part(name, missing="not measured") for name in names)
                continue
            steps = np.array(list(rows), float)
            # Every time is taken in every round; the line is that of the rounds' means.
            times = np.array([row["seconds"] for row in timed])  # [steps, rounds]
            slope, start = np.polyfit(steps, times.mean(1), 1)
            # A part each: another than the one furthest off may be the least known.
            for name, row, n, taken in zip(names, timed, steps, times, strict=True):
                off = (taken - (start + slope * n)) / slope
                estimate = stats.sampled(off.tolist(), cost.repeats(row))
                yield claims.Part(name, estimate, (file,))
