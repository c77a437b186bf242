"""Figures by kind: from results or measurements to points, and from points to svg, png and csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multistep.files import write_text
from multistep.reports import cost, curves, style
from multistep.reports.query import tidy
from multistep.reports.spec import Context
from multistep.schema import Figure as FigureSpec


def write_figure(
    prefix: Path, spec: FigureSpec, context: Context, results: Sequence[dict[str, Any]]
) -> list[Path]:
    """Write `<prefix>.svg`, `.png` and the `.csv` they were drawn from.

    `results` are measurements for the kind `cost` and results of cells for the kind `curves`;
    what is missing is left out, what is of another scale is refused.
    """
    if spec.kind == "cost":
        costs = cost.points(spec, context, results)
        figure, text = cost.draw(spec, context, costs), tidy(cost.Point, costs)
    else:
        accuracies = curves.points(spec, context, results)
        figure, text = curves.draw(spec, context, accuracies), tidy(curves.Point, accuracies)
    path = prefix.with_name(prefix.name + ".csv")
    write_text(path, text)
    return [*style.save(figure, prefix), path]
