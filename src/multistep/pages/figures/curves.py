"""Learning curves: accuracy during meta-training against meta-iterations and against time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from multistep.pages import style
from multistep.pages.context import Context
from multistep.pages.query import Result, clocks, device_name, group_results, training_seconds
from multistep.pages.spec import FewShotFigure, Wants

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Spec(FewShotFigure):
    """Mean over seeds, band from the lowest to the highest.

    Validation accuracy where a validation split is held out, otherwise accuracy on the query sets
    of training tasks.
    """

    def wants(self) -> Wants:
        return Wants([(e, self.dataset, m) for e in self.panels for m in self.methods])


@dataclass(frozen=True)
class Point:
    """Accuracy (%) of one method after so many meta-iterations, over its seeds."""

    experiment: str
    method: str
    iteration: int
    tasks: int  # seen so far
    seconds: float  # of training so far, mean over seeds
    accuracy: float  # mean over seeds
    accuracy_low: float  # lowest seed
    accuracy_high: float  # highest seed
    seeds: int
    clock: str  # see `query.training_seconds`
    split: str  # validation, or training where a cell has no validation accuracies
    ways: int
    device: str
    scale: str
    data: str


def points(spec: Spec, context: Context, results: Sequence[Result]) -> list[Point]:
    """All points of the curves in drawing order, at the meta-iterations that all seeds recorded."""
    groups = group_results(spec, context, results)
    validated = all(
        any(entry.get("validation_accuracy") is not None for entry in result["history"])
        for group in groups.values()
        for result in group
    )
    split = "validation" if validated else "training"
    return [
        point
        for experiment in spec.panels
        for method in spec.methods
        for point in _curve(context, groups.get((experiment, spec.dataset, method), []), split)
    ]


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> Figure:
    """One row of two panels (meta-iterations, time) per experiment, one line per method."""
    run, missing = style.by_panel(spec.panels, points, lambda point: point.experiment)
    header = style.header(spec, context, [point.device for point in points])
    if points:
        over = style.seeds(point.seeds for point in points)
        band = "" if over == "1 seed" else "; bands: lowest and highest seed"
        time = clocks(point.clock for point in points)
        header.append((f"Lines: mean over {over}{band}. Time: {time}, mean over seeds.", "quiet"))
    if missing:
        header.append((f"Not run: {', '.join(missing)}.", "quiet"))
    with style.theme():
        figure, axes = style.panels(max(1, len(run)), 2, header)
        figure.subplots_adjust(wspace=0.12, right=0.84)  # room for the legend
        if not run:
            style.empty(axes[0], "nothing run")
        for (panel, here), (left, right) in zip(run.items(), axes, strict=False):
            right.sharey(left)
            right.tick_params(labelleft=False)
            _panel(left, spec, context, here, "iterations")
            _panel(right, spec, context, here, "time")
            left.set_title(f"{spec.panels[panel]}: against meta-iterations")
            left.set_ylabel(f"{here[0].split} accuracy (%)")
            right.set_title("against training time")
            right.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _panel(axes: Axes, spec: Spec, context: Context, points: list[Point], over: str) -> None:
    """The lines of all methods over meta-iterations or time, with chance level."""
    unit, factor = style.time_unit(max(point.seconds for point in points))
    for method in spec.methods:
        line = [point for point in points if point.method == method]
        if not line:
            continue
        look = style.look(context, method)
        x = [point.iteration if over == "iterations" else point.seconds / factor for point in line]
        low = [point.accuracy_low for point in line]
        high = [point.accuracy_high for point in line]
        axes.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0)
        axes.plot(
            x,
            [point.accuracy for point in line],
            markevery=max(1, len(line) // 8),
            label=look.name,
            **look.line,
        )
    chance = 100 / points[0].ways
    axes.axhline(chance, color=style.QUIET, linewidth=0.8, linestyle=(0, (4, 3)), label="chance")
    axes.set_xlim(left=0)
    axes.set_xlabel("meta-iterations" if over == "iterations" else f"training time ({unit})")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")


def _curve(context: Context, results: list[Result], split: str) -> list[Point]:
    """One method's points: its seeds at the meta-iterations that all of them recorded."""
    key = f"{'validation' if split == 'validation' else 'train'}_accuracy"
    seeds: list[dict[int, tuple[float, float, int]]] = []
    for result in results:
        times, clock = training_seconds(result)
        seeds.append(
            {
                int(entry["iteration"]): (float(entry[key]), float(seconds), int(entry["tasks"]))
                for entry, seconds in zip(result["history"], times, strict=True)
                if entry.get(key) is not None
            }
        )
    if not seeds:
        return []
    cell: dict[str, Any] = results[0]["cell"]
    curve = []
    for iteration in sorted(set.intersection(*(set(seed) for seed in seeds))):
        accuracies = [seed[iteration][0] for seed in seeds]
        curve.append(
            Point(
                experiment=cell["experiment"],
                method=cell["method"],
                iteration=iteration,
                tasks=seeds[0][iteration][2],
                seconds=float(np.mean([seed[iteration][1] for seed in seeds])),
                accuracy=float(np.mean(accuracies)),
                accuracy_low=min(accuracies),
                accuracy_high=max(accuracies),
                seeds=len(seeds),
                clock=clock,
                split=split,
                ways=int(cell["settings"]["ways"]),
                device=device_name(results[0]["environment"]),
                scale=context.scale,
                data=context.dataset_title(cell["dataset"]),
            )
        )
    return curve
