"""Figures 2 and 5: time and memory of a meta-iteration over the number of inner steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from multistep.pages import measured, style
from multistep.pages.context import Context
from multistep.pages.query import group_measurements
from multistep.pages.spec import FewShotFigure, ShownMethod, Wants

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TURNS = 3  # methods with open markers have them at every third point each


class Spec(FewShotFigure):
    """All methods are interleaved in one job; the axes say which time and which memory.

    Labels give each method's cost relative to the first with as many steps; Multi-step (n) exists
    where n divides the steps.
    """

    remarks: dict[ShownMethod, str] = {}

    def wants(self) -> Wants:
        return Wants(measured=[(experiment, self.dataset) for experiment in self.panels])


@dataclass(frozen=True)
class Point(measured.Cost):
    """A method with so many inner steps, in one experiment."""

    experiment: str
    scale: str
    data: str


def points(spec: Spec, context: Context, measurements: Sequence[dict[str, Any]]) -> list[Point]:
    """All points of a cost figure in drawing order; methods lack those that were not measured.

    A window of n steps needs steps divisible by n, so Multi-step (n) has points only there. The
    number of steps that a method alone is trained with is left to the tables.
    """
    found = {
        experiment: measurement
        for (experiment, _), measurement in group_measurements(spec, context, measurements).items()
    }
    return [
        Point(
            experiment=experiment,
            scale=context.scale,
            data=context.dataset_title(context.dataset(spec.dataset)),
            **dataclasses.asdict(cost),
        )
        for experiment in spec.panels
        if experiment in found
        for method in spec.methods
        for cost in measured.costs(found[experiment], method)
        if cost.steps in found[experiment]["cell"]["measure"]["steps"]
    ]


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> Figure:
    """One row of two panels (time, memory) per experiment, one line per method."""
    panels, missing = style.by_panel(spec.panels, points, lambda point: point.experiment)
    header = style.header(spec, context, [point.device for point in points])
    if remarks := _remarks(spec, context, points):
        header.append((remarks, "quiet"))
    if points:
        first = style.look(context, spec.methods[0]).name
        header.append(
            (
                f"Time: {points[0].clock}, median and quartiles over {points[0].rounds} rounds. "
                f"Memory: {points[0].memory}. ×: relative to {first} with as many inner steps."
                + _turns(context, points),
                "quiet",
            )
        )
    if absent := "; ".join([*missing, *_absent(spec, context, panels)]):
        header.append((f"Not measured: {absent}.", "quiet"))
    with style.theme():
        figure, axes = style.panels(max(1, len(panels)), 2, header)
        figure.subplots_adjust(right=0.82, wspace=0.95)  # room for labels
        if not panels:
            style.empty(axes[0], "nothing measured")
        for (panel, here), (time, memory) in zip(panels.items(), axes, strict=False):
            heading = spec.panels[panel]
            _panel(time, spec, context, here, "time")
            time.set_title(f"{heading}, {_tasks(context, here)}: time")
            _panel(memory, spec, context, here, "memory")
            memory.set_title(f"{heading}: memory")
    return figure


def _absent(spec: Spec, context: Context, panels: dict[str, list[Point]]) -> list[str]:
    """The methods without a point in a panel that is drawn, with these panels if others have it."""
    found = []
    for method in spec.methods:
        without = [p for p, here in panels.items() if all(point.method != method for point in here)]
        where = ", ".join(spec.panels[panel] for panel in without)
        if without:
            partly = f" ({where})" if len(without) < len(panels) else ""
            found.append(style.look(context, method).name + partly)
    return found


def _remarks(spec: Spec, context: Context, points: Sequence[Point]) -> str:
    """The remarks on the methods that are drawn, each under their names."""
    drawn = {point.method for point in points}
    said: dict[str, list[str]] = {}
    for method in (m for m in spec.methods if m in drawn and m in spec.remarks):
        said.setdefault(spec.remarks[method], []).append(style.look(context, method).name)
    return " ".join(f"{' and '.join(names)}: {remark}." for remark, names in said.items())


def _tasks(context: Context, points: list[Point]) -> str:
    """Tasks in the meta-batch; a method that was measured with another number is named."""
    odd = {p.method: p.tasks for p in points if p.tasks != points[0].tasks}
    named = ", ".join(f"{style.look(context, method).name}: {n}" for method, n in odd.items())
    return f"{points[0].tasks} tasks" + (f" ({named})" if named else "")


def _turns(context: Context, points: Sequence[Point]) -> str:
    """For the header: what open markers leave out, if there are any."""
    dashed = any(style.look(context, point.method).dashes for point in points)
    return " Open markers are drawn at every third point, for legibility." if dashed else ""


def _panel(axes: Axes, spec: Spec, context: Context, points: list[Point], quantity: str) -> None:
    """One line per method, from zero; at the right its name and its cost relative to the first."""
    values = {p: p.seconds if quantity == "time" else float(p.bytes) for p in points}
    unit, factor = measured.unit(quantity, max(values.values()))
    reference = {(p.steps, p.tasks): values[p] for p in points if p.method == spec.methods[0]}
    ends, turn = [], 0
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
        every = None
        if look.dashes and len(line) >= _TURNS:  # markers in turns: some memories are equal
            every, turn = slice(-1 - turn, None, -_TURNS), (turn + 1) % _TURNS
        axes.errorbar(steps, y, yerr=spread, elinewidth=1, markevery=every, **look.line)
        ratio, alike = "", (steps[-1], line[-1].tasks)
        if method != spec.methods[0] and alike in reference:
            ratio = f"  {values[line[-1]] / reference[alike]:.2f}×"
        ends.append((float(steps[-1]), float(y[-1]), look.name + ratio, look.colour))
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    axes.set_xticks(sorted({point.steps for point in points}))
    axes.set_xlabel("inner steps")
    measure = points[0].clock if quantity == "time" else points[0].memory
    axes.set_ylabel(f"{measured.LABELS[measure]} ({unit})")
    style.label_ends(axes, ends)
