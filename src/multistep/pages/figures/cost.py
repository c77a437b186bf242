"""Figures 2 and 5: time and memory of a meta-iteration over the number of inner steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from multistep.pages import measured, style
from multistep.pages.context import Context
from multistep.pages.query import Point, group_measurements
from multistep.pages.spec import FewShotFigure, ShownMethod, Wants

COLUMNS = (
    "method steps seconds seconds_low seconds_high rounds bytes clock memory tasks device "
    "experiment scale data"
)
_TURNS = 3  # methods with open markers have them at every third point each


class Spec(FewShotFigure):
    """All methods are interleaved in one job; the axes say which time and which memory.

    Labels give each method's cost relative to the first with as many steps; Multi-step (n) exists
    where n divides the steps.
    """

    remarks: dict[ShownMethod, str] = {}

    def wants(self) -> Wants:
        return Wants(measured=[(experiment, self.dataset) for experiment in self.panels])


def points(spec: Spec, context: Context, measurements: Sequence[dict[str, Any]]) -> list[Point]:
    """All points of a cost figure in drawing order; methods lack those that were not measured.

    A window of n steps needs steps divisible by n, so Multi-step (n) has points only there. The
    number of steps that a method alone is trained with is left to the tables.
    """
    found = group_measurements(spec, context, measurements)
    data = context.titles([spec.dataset])
    return [
        Point(**vars(cost), experiment=experiment, scale=context.scale, data=data)
        for (experiment, _), measurement in found.items()
        for method in spec.methods
        for cost in measured.costs(measurement, method)
        if cost.steps in measurement["cell"]["measure"]["steps"]
    ]


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> style.Figure:
    """One row of two panels (time, memory) per experiment, one line per method."""
    panels, missing = style.by_panel(spec.panels, points, "experiment")
    names = {method: style.look(context, method).name for method in spec.methods}
    notes = []
    if points:
        said: dict[str, list[str]] = {}
        for method in spec.methods:
            if method in spec.remarks and any(point.method == method for point in points):
                said.setdefault(spec.remarks[method], []).append(names[method])
        notes.append(" ".join(f"{' and '.join(of)}: {remark}." for remark, of in said.items()))
        text = (
            f"Time: {points[0].clock}, median and quartiles over {points[0].rounds} rounds. "
            f"Memory: {points[0].memory}. ×: relative to {names[spec.methods[0]]} with as many "
            "inner steps."
        )
        if any(style.look(context, point.method).dashes for point in points):
            text += " Open markers are drawn at every third point, for legibility."
        notes.append(text)
    for method in spec.methods:
        without = [p for p, here in panels.items() if all(point.method != method for point in here)]
        if without:
            where = ", ".join(spec.panels[panel] for panel in without)
            missing.append(names[method] + (f" ({where})" if len(without) < len(panels) else ""))
    if missing:
        notes.append(f"Not measured: {'; '.join(missing)}.")
    with style.theme():
        figure, axes = style.panels(
            spec,
            context,
            points,
            notes,
            (len(panels), 2),
            nothing="nothing measured",
            right=0.82,  # room for labels
            wspace=0.95,
        )
        for (panel, here), (time, memory) in zip(panels.items(), axes, strict=False):
            odd = {point.method: point.tasks for point in here if point.tasks != here[0].tasks}
            named = ", ".join(f"{names[method]}: {n}" for method, n in odd.items())
            tasks = f"{here[0].tasks} tasks" + (f" ({named})" if named else "")
            _panel(time, spec, context, here, "time")
            time.set_title(f"{spec.panels[panel]}, {tasks}: time")
            _panel(memory, spec, context, here, "memory")
            memory.set_title(f"{spec.panels[panel]}: memory")
    return figure


def _panel(
    axes: style.Axes, spec: Spec, context: Context, points: list[Point], quantity: str
) -> None:
    """One line per method, from zero; at the right its name and its cost relative to the first."""
    key = "seconds" if quantity == "time" else "bytes"
    unit, factor = measured.unit(quantity, max(getattr(point, key) for point in points))
    first = {(p.steps, p.tasks): getattr(p, key) for p in points if p.method == spec.methods[0]}
    ends, turn = [], 0
    for look, line in style.lines(spec, context, points):
        y = np.array([getattr(point, key) for point in line]) / factor
        spread = None
        if quantity == "time":
            low = np.array([point.seconds_low for point in line]) / factor
            high = np.array([point.seconds_high for point in line]) / factor
            spread = np.stack([y - low, high - y])
        steps = [point.steps for point in line]
        every = None
        if look.dashes and len(line) >= _TURNS:  # markers in turns: some memories are equal
            every, turn = slice(-1 - turn, None, -_TURNS), (turn + 1) % _TURNS
        axes.errorbar(steps, y, yerr=spread, elinewidth=1, markevery=every, **look.line)
        ratio, alike = "", (steps[-1], line[-1].tasks)
        if line[-1].method != spec.methods[0] and alike in first:
            ratio = f"  {getattr(line[-1], key) / first[alike]:.2f}×"
        ends.append((float(steps[-1]), float(y[-1]), look.name + ratio, look.colour))
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    axes.set_xticks(sorted({point.steps for point in points}))
    axes.set_xlabel("inner steps")
    measure = points[0].clock if quantity == "time" else points[0].memory
    axes.set_ylabel(f"{measured.LABELS[measure]} ({unit})")
    style.label_ends(axes, ends)
