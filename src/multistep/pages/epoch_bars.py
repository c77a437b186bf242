"""Figure 3: seconds per epoch on every dataset, and how much multi-step estimation saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from multistep.pages import style, timing
from multistep.pages.kinds.figures import EpochTimeFigure
from multistep.pages.layout import MINUS
from multistep.pages.query import group_measurements
from multistep.pages.spec import Context


@dataclass(frozen=True)
class Point:
    """One bar: a method on a dataset."""

    dataset: str  # as the figure's entry in params.yaml calls it
    experiment: str
    method: str
    seconds: float  # per epoch
    seconds_sd: float | None  # of an epoch, taking its mini-batches as independent
    seconds_half_width: float | None  # 95% interval of `seconds`
    ratio: float | None  # to the first method
    ratio_half_width: float | None
    batches: int  # timed
    iterations: int  # mini-batches of an epoch
    batch_size: int
    scheme: str
    source_features: str
    clock: str
    device: str
    source: str
    scale: str
    data: str


def points(
    spec: EpochTimeFigure, context: Context, records: Sequence[dict[str, Any]]
) -> list[Point]:
    """All bars in drawing order; datasets and methods that were not measured lack."""
    found = group_measurements(spec, context, records)
    bars = []
    for dataset in spec.panels:
        experiment = spec.experiments[dataset]
        measurement = found.get((experiment, dataset))
        times = timing.epoch_times(measurement, spec.methods) if measurement else {}
        first = times.get(spec.methods[0])
        for method, time in times.items():
            ratio, ratio_half_width = time.ratio(first) if first else (None, None)
            bars.append(
                Point(
                    dataset=dataset,
                    experiment=experiment,
                    method=method,
                    seconds=time.seconds,
                    seconds_sd=time.sd,
                    seconds_half_width=time.half_width,
                    ratio=ratio,
                    ratio_half_width=ratio_half_width,
                    batches=time.batches,
                    iterations=time.iterations,
                    batch_size=time.batch_size,
                    scheme=time.scheme,
                    source_features=time.source_features,
                    clock=time.clock,
                    device=time.device,
                    source=time.source,
                    scale=context.scale,
                    data=context.dataset_title(context.dataset(dataset)),
                )
            )
    return bars


def draw(spec: EpochTimeFigure, context: Context, points: Sequence[Point]) -> Figure:
    """One panel per experiment (sizes of images differ a lot), a group of bars per dataset."""
    run, missing = style.by_panel(spec.panels, points, lambda point: point.dataset)
    header = style.header(
        spec,
        context,
        [point.device for point in points],
        datasets=list(run),
        sources=[point.source for point in points],
    )
    if points:
        first = style.look(context, spec.methods[0]).name
        how = timing.how(points).rpartition("; device")[0]  # the line above has it
        header.append((f"{how}. Bars: ± sd of an epoch. %: relative to {first}.", "quiet"))
    if missing:
        header.append((f"Not measured: {', '.join(missing)}.", "quiet"))
    groups: dict[str, list[str]] = {}
    for dataset in run:
        groups.setdefault(spec.experiments[dataset], []).append(dataset)
    with matplotlib.rc_context(style.RC):
        widths = [len(datasets) for datasets in groups.values()]
        figure, axes = style.panels(1, max(1, len(groups)), header, widths=widths or None)
        if not points:
            style.empty(axes[0], "nothing measured")
            return figure
        for panel, datasets in zip(axes[0], groups.values(), strict=True):
            _panel(panel, spec, context, datasets, run)
        axes[0][0].set_title("seconds per epoch")
        axes[0][-1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _panel(
    axes: Axes,
    spec: EpochTimeFigure,
    context: Context,
    datasets: list[str],
    run: dict[str, list[Point]],
) -> None:
    width = 0.8 / len(spec.methods)
    for k, method in enumerate(spec.methods):
        look = style.look(context, method)
        bars = [(i, p) for i, d in enumerate(datasets) for p in run[d] if p.method == method]
        if not bars:
            continue
        x = [i + (k - (len(spec.methods) - 1) / 2) * width for i, _ in bars]
        y = [point.seconds for _, point in bars]
        spread = [point.seconds_sd or 0.0 for _, point in bars]
        axes.bar(x, y, 0.92 * width, color=look.colour, label=look.name)
        axes.errorbar(x, y, yerr=spread, fmt="none", ecolor=style.INK, elinewidth=1)
        for at, value, sd, (_, point) in zip(x, y, spread, bars, strict=True):
            text = timing.text(value)
            if k and point.ratio is not None:
                text = f"{change(point.ratio)}\n{text}"
            axes.annotate(
                text,
                (at, value + sd),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                size=8,
                fontweight="bold" if k else "normal",
            )
    axes.set_xlim(-0.6, len(datasets) - 0.4)
    axes.set_ylim(0, 1.22 * axes.get_ylim()[1])
    stand_ins = [context.is_stand_in(context.dataset(dataset)) for dataset in datasets]
    names = [
        style.wrap(spec.panels[dataset], 14) + ("\n(stand-in)" if stand_in else "")
        for dataset, stand_in in zip(datasets, stand_ins, strict=True)
    ]
    axes.set_xticks(range(len(datasets)), names, size=8)
    axes.tick_params(axis="x", length=0)


def change(ratio: float) -> str:
    """A ratio of times as the change in percent."""
    percent = 100 * (ratio - 1)
    return f"{MINUS if percent < 0 else '+'}{abs(percent):.0f}%"
