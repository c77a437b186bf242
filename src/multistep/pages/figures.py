"""Figures by kind: from results or measurements to points, and from points to svg, png and csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from multistep.files import write_text
from multistep.pages import (
    cost,
    curves,
    drift,
    epoch_bars,
    meta_gradient,
    steps,
    style,
    transfer_curves,
    where,
)
from multistep.pages.kinds import Figure
from multistep.pages.query import tidy
from multistep.pages.spec import Context

# kind: the module with its Point, its `points` (from records) and its `draw` (from points)
_KINDS: dict[str, ModuleType] = {
    "cost": cost,
    "curves": curves,
    "drift": drift,
    "epoch_time": epoch_bars,
    "steps": steps,
    "where": where,
    "meta_gradient": meta_gradient,
    "transfer_curves": transfer_curves,
}


def write_figure(
    prefix: Path, spec: Figure, context: Context, records: Sequence[dict[str, Any]]
) -> list[Path]:
    """Write `<prefix>.svg`, `.png` and the `.csv` they were drawn from.

    `records` are results of cells, measurements, or both, as the kind needs; what is missing is
    left out, what is of another scale is refused.
    """
    kind = _KINDS[spec.kind]
    points = kind.points(spec, context, records)
    figure = kind.draw(spec, context, points)
    path = prefix.with_name(prefix.name + ".csv")
    write_text(path, tidy(kind.Point, points))
    return [*style.save(figure, prefix), path]
