"""Figure 3: seconds per epoch on every dataset, and how much multi-step estimation saves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multistep.pages import style, timing
from multistep.pages.context import Context
from multistep.pages.layout import signed
from multistep.pages.query import Point, group_measurements
from multistep.pages.spec import Panels, Wants

COLUMNS = (
    "method seconds seconds_sd seconds_half_width batches iterations bytes batch_size scheme "
    "source_features source clock memory device dataset experiment ratio ratio_half_width scale "
    "data"
)


class Spec(Panels):
    """Training alone, from mini-batches timed with all methods interleaved.

    Labels say what is saved relative to the first method.
    """

    def wants(self) -> Wants:
        return Wants(measured=[(self.experiments[dataset], dataset) for dataset in self.panels])


def points(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> list[Point]:
    """All bars in drawing order; datasets and methods that were not measured lack."""
    bars = []
    for (experiment, dataset), found in group_measurements(spec, context, records).items():
        times = timing.epoch_times(found, spec.methods)
        for time in times.values():
            ratio, half_width = timing.relative(time, times.get(spec.methods[0]))
            bars.append(
                Point(
                    **vars(time),
                    dataset=dataset,  # as the figure calls it
                    experiment=experiment,
                    ratio=ratio,  # to the first method
                    ratio_half_width=half_width,
                    scale=context.scale,
                    data=context.titles([dataset]),
                )
            )
    return bars


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> style.Figure:
    """One panel per experiment (sizes of images differ a lot), a group of bars per dataset."""
    run, missing = style.by_panel(spec.panels, points, "dataset")
    notes = []
    if points:
        first = style.look(context, spec.methods[0]).name
        how = timing.how(points).rpartition("; device")[0]  # the line above has it
        notes.append(f"{how}. Bars: ± sd of an epoch. %: relative to {first}.")
    if missing:
        notes.append(f"Not measured: {', '.join(missing)}.")
    groups: dict[str, list[str]] = {}
    for dataset in run:
        groups.setdefault(spec.experiments[dataset], []).append(dataset)
    with style.theme():
        figure, axes = style.panels(
            spec,
            context,
            points,
            notes,
            (1, len(groups)),
            datasets=list(run),
            widths=[len(datasets) for datasets in groups.values()],
            nothing="nothing measured",
        )
        if not points:
            return figure
        for panel, datasets in zip(axes[0], groups.values(), strict=True):
            _panel(panel, spec, context, datasets, run)
        axes[0][0].set_title("seconds per epoch")
        axes[0][-1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _panel(
    axes: style.Axes, spec: Spec, context: Context, datasets: list[str], run: dict[str, list[Point]]
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
                text = f"{signed(100 * (point.ratio - 1), 0)}%\n{text}"
            style.above(axes, at, value + sd, text, fontweight="bold" if k else "normal")
    axes.set_xlim(-0.6, len(datasets) - 0.4)
    axes.set_ylim(0, 1.22 * axes.get_ylim()[1])
    stand_ins = [context.is_stand_in(context.dataset(dataset)) for dataset in datasets]
    names = [
        style.wrap(spec.panels[dataset], 14) + ("\n(stand-in)" if stand_in else "")
        for dataset, stand_in in zip(datasets, stand_ins, strict=True)
    ]
    axes.set_xticks(range(len(datasets)), names, size=8)
    axes.tick_params(axis="x", length=0)
