"""Figures: one module a kind.

It has `Spec` (what such a figure says in its YAML file), `COLUMNS` (of the csv that it is drawn
from), `points` (from records to rows of it) and `draw`; they are written as svg, png and csv.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multistep.files import write_text
from multistep.pages import query, record, remarks, style
from multistep.pages.context import Context
from multistep.pages.spec import Spec, module


def write_figure(
    prefix: Path, spec: Spec, context: Context, records: Sequence[dict[str, Any]]
) -> list[Path]:
    """Write `<prefix>.svg`, `.png`, the `.csv` they were drawn from, and the page's record.

    `records` are results of cells, measurements, or both, as the kind needs; what is missing is
    left out, what is of another scale is refused.
    """
    kind = module("figures", spec.kind)
    query.check_inputs(records)
    notes = [*spec.notes, *remarks.remarks(spec, context, records)]
    shown = spec.model_copy(update={"notes": notes})
    points = kind.points(shown, context, records)
    figure = kind.draw(shown, context, points)
    path = prefix.with_name(prefix.name + ".csv")
    write_text(path, query.tidy(kind.COLUMNS.split(), points))
    paths = [*style.save(figure, prefix), path]
    return [*paths, record.write(prefix, "figures", spec, context, records, paths)]
