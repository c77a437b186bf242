"""Figure 3: seconds per epoch on every dataset, and how much multi-step estimation saves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multistep.pages import style, timing
from multistep.pages.context import Context
from multistep.pages.layout import MINUS
from multistep.pages.query import group_measurements
from multistep.pages.spec import Panels, Wants

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Spec(Panels):
    """Training alone, from mini-batches timed with all methods interleaved.

    Labels say what is saved relative to the first method.
    """

    def wants(self) -> Wants:
        return Wants(measured=[(self.experiments[dataset], dataset) for dataset in self.panels])


@dataclass(frozen=True)
class Point(timing.EpochTime):
    """One bar: a method on a dataset, as the figure calls it; the ratio is to the first method."""

    dataset: str
    experiment: str
    ratio: float | None
    ratio_half_width: float | None
    scale: str
    data: str


def points(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> list[Point]:
    """All bars in drawing order; datasets and methods that were not measured lack."""
    found = group_measurements(spec, context, records)
    bars = []
    for dataset in spec.panels:
        experiment = spec.experiments[dataset]
        measurement = found.get((experiment, dataset))
        times = timing.epoch_times(measurement, spec.methods) if measurement else {}
        first = times.get(spec.methods[0])
        for time in times.values():
            ratio, ratio_half_width = time.relative(first) if first else (None, None)
            bars.append(
                Point(
                    **dataclasses.asdict(time),
                    dataset=dataset,
                    experiment=experiment,
                    ratio=ratio,
                    ratio_half_width=ratio_half_width,
                    scale=context.scale,
                    data=context.dataset_title(context.dataset(dataset)),
                )
            )
    return bars


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> Figure:
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
    with style.theme():
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
    spec: Spec,
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
