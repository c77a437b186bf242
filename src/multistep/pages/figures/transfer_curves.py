"""Learning curves of transfer: validation accuracy over epochs and over training time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multistep import stats
from multistep.pages import style
from multistep.pages.context import Context
from multistep.pages.query import Result, clocks, devices, group_results, training_seconds
from multistep.pages.spec import Panels, Wants

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Spec(Panels):
    """Validation accuracy after each epoch: mean over seeds, band from lowest to highest."""

    def wants(self) -> Wants:
        return Wants([(self.experiments[d], d, m) for d in self.panels for m in self.methods])


@dataclass(frozen=True)
class Point:
    """Accuracies (%) of one method after an epoch, over its seeds."""

    dataset: str  # as the figure's entry in params.yaml calls it
    experiment: str
    method: str
    epoch: int  # from 1: epochs trained so far
    seconds: float  # of training so far, without loading and evaluation; mean over seeds
    accuracy: float  # of validation, mean over seeds
    accuracy_low: float  # lowest seed
    accuracy_high: float  # highest seed
    test_accuracy: float  # mean over seeds
    train_accuracy: float  # mean over seeds and the epoch's mini-batches
    seeds: int
    clock: str  # see `query.training_seconds`
    device: str
    source: str
    scale: str
    data: str


def points(spec: Spec, context: Context, records: Sequence[Result]) -> list[Point]:
    """All points in drawing order, at the epochs that all seeds of a cell have run."""
    groups = group_results(spec, context, records)
    return [
        point
        for dataset in spec.panels
        for method in spec.methods
        for point in _curve(
            context, dataset, groups.get((spec.experiments[dataset], dataset, method), [])
        )
    ]


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> Figure:
    """One row of two panels (epochs, time) per dataset, one line per method."""
    run, missing = style.by_panel(spec.panels, points, lambda point: point.dataset)
    header = style.header(
        spec,
        context,
        [point.device for point in points],
        datasets=list(run),
        sources=[point.source for point in points if point.source],
    )
    if points:
        over = style.seeds(point.seeds for point in points)
        band = "" if over == "1 seed" else "; bands: lowest and highest seed"
        time = clocks(point.clock for point in points)
        header.append(
            (
                f"Lines: mean over {over}{band}. Time: {time} without loading and evaluation, "
                "mean over seeds.",
                "quiet",
            )
        )
    if missing:
        header.append((f"Not run: {', '.join(missing)}.", "quiet"))
    with style.theme():
        figure, axes = style.panels(max(1, len(run)), 2, header)
        figure.subplots_adjust(wspace=0.12)
        if not run:
            style.empty(axes[0], "nothing run")
        for (dataset, here), (left, right) in zip(run.items(), axes, strict=False):
            right.sharey(left)
            right.tick_params(labelleft=False)
            _panel(left, spec, context, here, over_time=False)
            _panel(right, spec, context, here, over_time=True)
            stand_in = context.is_stand_in(context.dataset(dataset))
            heading = spec.panels[dataset] + (" (stand-in)" if stand_in else "")
            left.set_title(f"{heading}: against epochs")
            left.set_ylabel("validation accuracy (%)")
            right.set_title("against training time")
            right.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _panel(
    axes: Axes,
    spec: Spec,
    context: Context,
    points: list[Point],
    *,
    over_time: bool,
) -> None:
    unit, factor = style.time_unit(max(point.seconds for point in points))
    for method in spec.methods:
        line = [point for point in points if point.method == method]
        if not line:
            continue
        look = style.look(context, method)
        x = [point.seconds / factor if over_time else point.epoch for point in line]
        low = [point.accuracy_low for point in line]
        high = [point.accuracy_high for point in line]
        axes.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0)
        axes.plot(
            x,
            [point.accuracy for point in line],
            color=look.colour,
            marker=look.marker,
            markevery=max(1, len(line) // 8),
            label=look.name,
        )
    style.round_ticks(axes.xaxis, 8, whole=not over_time)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"training time ({unit})" if over_time else "epochs")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")


def _curve(context: Context, dataset: str, results: list[Result]) -> list[Point]:
    """One method's points on one dataset."""
    seeds = []
    for result in results:
        times, clock = training_seconds(result)
        pairs = zip(result["history"], times, strict=True)
        seeds.append({int(entry["epoch"]): (entry, float(seconds)) for entry, seconds in pairs})
    if not seeds:
        return []
    cell = results[0]["cell"]

    def mean(epoch: int, key: str) -> float:
        return stats.over_seeds([seed[epoch][0][key] for seed in seeds])[0]

    return [
        Point(
            dataset=dataset,
            experiment=cell["experiment"],
            method=cell["method"],
            epoch=epoch + 1,
            seconds=stats.over_seeds([seed[epoch][1] for seed in seeds])[0],
            accuracy=mean(epoch, "validation_accuracy"),
            accuracy_low=min(seed[epoch][0]["validation_accuracy"] for seed in seeds),
            accuracy_high=max(seed[epoch][0]["validation_accuracy"] for seed in seeds),
            test_accuracy=mean(epoch, "test_accuracy"),
            train_accuracy=mean(epoch, "train_accuracy"),
            seeds=len(seeds),
            clock=clock,
            device=devices(results),
            source="" if cell["algorithm"] == "scratch" else cell["settings"]["source"],
            scale=context.scale,
            data=context.dataset_title(cell["dataset"]),
        )
        for epoch in sorted(set.intersection(*map(set, seeds)))
    ]
