"""Figures 2 and 5: time and memory of a meta-iteration over the number of inner steps."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from multistep.pages.figures import CostFigure
from multistep.reports import style
from multistep.reports.query import device_name, group_measurements
from multistep.reports.spec import Context

_LABELS = {
    "process seconds": "process time",
    "CUDA-event seconds": "CUDA-event time",
    "bytes saved for backward per task": "saved for backward per task",
    "peak allocated bytes": "peak allocated",
}


@dataclass(frozen=True)
class Point:
    """The cost of one meta-iteration: a method with so many inner steps."""

    experiment: str
    method: str
    steps: int
    seconds: float  # median over rounds
    seconds_low: float  # first quartile
    seconds_high: float  # third quartile
    rounds: int
    bytes: int
    clock: str  # which time, e.g. process seconds
    memory: str  # which memory, e.g. bytes saved for backward per task
    tasks: int  # in the meta-batch
    device: str
    scale: str
    data: str


def points(
    spec: CostFigure, context: Context, measurements: Sequence[dict[str, Any]]
) -> list[Point]:
    """All points of a cost figure in drawing order; methods lack those that were not measured.

    A window of n steps needs steps divisible by n, so Multi-step (n) has points only there.
    """
    found = {
        experiment: measurement
        for (experiment, _), measurement in group_measurements(spec, context, measurements).items()
    }
    return [
        _point(context, found[experiment], row)
        for experiment in spec.panels
        if experiment in found
        for method in spec.methods
        for row in sorted(found[experiment]["rows"], key=lambda row: int(row["steps"]))
        if row["method"] == method
    ]


def draw(spec: CostFigure, context: Context, points: Sequence[Point]) -> Figure:
    """One row of two panels (time, memory) per experiment, one line per method."""
    measured, missing = style.by_panel(spec.panels, points, lambda point: point.experiment)
    header = style.header(spec, context, [point.device for point in points])
    if points:
        first = style.look(context, spec.methods[0]).name
        header.append(
            (
                f"Time: {points[0].clock}, median and quartiles over {points[0].rounds} rounds. "
                f"Memory: {points[0].memory}. ×: relative to {first} with as many inner steps.",
                "quiet",
            )
        )
    if missing:
        header.append((f"Not measured: {', '.join(missing)}.", "quiet"))
    with matplotlib.rc_context(style.RC):
        figure, axes = style.panels(max(1, len(measured)), 2, header)
        figure.subplots_adjust(wspace=0.75)
        if not measured:
            style.empty(axes[0], "nothing measured")
        for (panel, here), (time, memory) in zip(measured.items(), axes, strict=False):
            heading = spec.panels[panel]
            _panel(time, spec, context, here, "time")
            time.set_title(f"{heading}, {here[0].tasks} tasks: time")
            _panel(memory, spec, context, here, "memory")
            memory.set_title(f"{heading}: memory")
    return figure


def _panel(
    axes: Axes, spec: CostFigure, context: Context, points: list[Point], quantity: str
) -> None:
    """One line per method, from zero; at the right its name and its cost relative to the first."""
    values = {p: p.seconds if quantity == "time" else float(p.bytes) for p in points}
    unit, factor = _unit(quantity, max(values.values()))
    reference = {p.steps: values[p] for p in points if p.method == spec.methods[0]}
    ends = []
    for method in spec.methods:
        line = [point for point in points if point.method == method]
        if not line:
            continue
        look = style.look(context, method)
        y = np.array([values[point] for point in line]) / factor
        spread = None
        if quantity == "time":
            low = np.array([point.seconds_low for point in line]) / factor
            high = np.array([point.seconds_high for point in line]) / factor
            spread = np.stack([y - low, high - y])
        steps = [point.steps for point in line]
        axes.errorbar(steps, y, yerr=spread, color=look.colour, marker=look.marker, elinewidth=1)
        ratio = ""
        if method != spec.methods[0] and steps[-1] in reference:
            ratio = f"  {values[line[-1]] / reference[steps[-1]]:.2f}×"
        ends.append((float(steps[-1]), float(y[-1]), look.name + ratio, look.colour))
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    axes.set_xticks(sorted({point.steps for point in points}))
    axes.set_xlabel("inner steps")
    measure = points[0].clock if quantity == "time" else points[0].memory
    axes.set_ylabel(f"{_LABELS[measure]} ({unit})")
    style.label_ends(axes, ends)


def _unit(quantity: str, largest: float) -> tuple[str, float]:
    """A readable unit for values up to `largest` (seconds or bytes), and its size."""
    if quantity == "time":
        return ("ms", 1e-3) if largest < 1 else ("s", 1.0)
    return ("MB", 1e6) if largest < 2e9 else ("GB", 1e9)


def _point(context: Context, measurement: dict[str, Any], row: dict[str, Any]) -> Point:
    cell, unit = measurement["cell"], measurement["unit"]
    settings = cell["methods"][row["method"]]["settings"]
    seconds = [float(value) for value in row["seconds"]]
    low, high = np.quantile(seconds, [0.25, 0.75])
    return Point(
        experiment=cell["experiment"],
        method=row["method"],
        steps=int(row["steps"]),
        seconds=statistics.median(seconds),
        seconds_low=float(low),
        seconds_high=float(high),
        rounds=len(seconds),
        bytes=int(row["bytes"]),
        clock=unit["time"],
        memory=unit["memory"],
        tasks=int(cell["measure"]["tasks"] or settings["meta_batch"]),
        device=device_name(measurement["environment"]),
        scale=context.scale,
        data=context.dataset_title(cell["dataset"]),
    )
