"""Claims on absolute numbers: each that a page prints of the paper's own runs, against ours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from multistep import stats
from multistep.pages import claims
from multistep.pages.claims import accuracy
from multistep.pages.spec import Wants


class Spec(claims.OfPage):
    """Our accuracy minus the printed one, in points, where a cell is the paper's in every setting.

    `page`: the table whose numbers they are. `spread`: what their ± is, a 95% half-width over test
    episodes or a standard deviation of three seeds.
    """

    unit: ClassVar[str] = " points"
    spread: Literal["episodes", "three seeds"]

    def printed(self, page: Any) -> dict[str, list[float]]:
        """Value and half-width or deviation by experiment/dataset/method."""
        paper, values = getattr(page, "paper", None), {}
        too_wide = getattr(paper, "too_wide", lambda column: 1.0)  # of half-widths over episodes
        own = set(getattr(paper, "values", ()))
        for q in page.quotations():
            if q.method in own and q.quantity == "test_accuracy" and q.spread is not None:
                half_width = q.spread / too_wide(q.experiment)
                values[f"{q.experiment}/{q.dataset}/{q.method}"] = [q.value, half_width]
        return values

    def wants(self) -> Wants:
        cells = (name.split("/") for name in self.values)
        return Wants([(e, d, m) for e, d, m in cells])

    def parts(self, scale: claims.Scale) -> Iterator[claims.Part]:
        differing = scale.differing(self)
        for cell, (printed, spread) in self.values.items():
            names = cell.split("/")
            name, runs = scale.title(*names), list(scale.runs(*names).values())
            if not runs or cell in differing:
                why = "run otherwise than the paper's" if runs else "no result"
                yield claims.Part(name, missing=why)
                continue
            errors: tuple[tuple[float, int | None], ...] = ((spread / stats.Z95, None),)
            if self.spread == "three seeds":
                errors = ((spread / math.sqrt(3), 2),)
            ours = accuracy.level([run for _, run in runs])
            theirs = stats.Estimate(printed, errors, ours.n)
            yield claims.Part(name, ours - theirs, tuple(file for file, _ in runs))
