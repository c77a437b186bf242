"""Figure 3: seconds per epoch on every dataset, and how much multi-step estimation saves."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from multistep.pages import DataFrame, measured, query, sns, style
from multistep.pages.context import Context
from multistep.pages.figures import heading, missing, names
from multistep.pages.layout import signed
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
        return Wants(timed=[(self.experiments[d], d, m) for d in self.panels for m in self.methods])


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> DataFrame:
    """All bars in drawing order; datasets and methods that were not measured lack.

    `ratio`: to the first method, with the half-width of its 95% interval (first order).
    """
    times = query.epoch_times(query.data(spec, context, records))
    found = style.ordered(times, dataset=spec.panels, method=spec.methods)
    first = found[found.method == spec.methods[0]].set_index("dataset")
    of_first = first.reindex(found.dataset).set_index(found.index)
    ratio = found.seconds / of_first.seconds
    width = ratio * np.hypot(*(t.seconds_half_width / t.seconds for t in (found, of_first)))
    return found.assign(ratio=ratio, ratio_half_width=width.mask(found.method == spec.methods[0]))


def notes(spec: Spec, context: Context, rows: DataFrame) -> list[str]:
    """How it was timed, and what was not."""
    called, first = names(context, spec.methods), spec.methods[0]
    related = rows.ratio[rows.method != first].notna().any()
    how = measured.how(rows).rpartition("; device")[0]  # which the caption has
    return [
        f"{how}. Bars: ± sd of an epoch." + f" %: relative to {called[first]}." * bool(related),
        missing("Not measured", called, rows, spec.panels, "dataset"),
    ]


def draw(spec: Spec, context: Context, rows: DataFrame) -> style.Figure:
    """One panel per experiment (sizes of images differ a lot), a group of bars per dataset."""
    groups = [here for _, here in rows.groupby("experiment", sort=False)]
    widths = [here.dataset.nunique() for here in groups]
    shape = {"width": style.PAGE if sum(widths) > 2 else style.COLUMN}
    figure, axes = style.panels(rows, (1, len(groups)), width_ratios=widths or None, **shape)
    looks = {method: style.look(context, method) for method in spec.methods}
    palette = {method: look.colour for method, look in looks.items()}
    drawn = {"hue": "method", "palette": palette, "gap": 0.08, **style.BARS}
    for panel, here in zip(axes[0], groups, strict=False):
        sns.barplot(here, x="dataset", y="seconds", legend=False, ax=panel, **drawn)
        for method, bars in zip(here.method.unique(), panel.containers, strict=True):
            bars.set_label(looks[method].name)
            times = here[here.method == method].itertuples()
            for bar, time in zip(bars, times, strict=True):
                text, end = measured.seconds(time.seconds), np.nan_to_num(time.seconds_sd)
                if saved := method != spec.methods[0] and np.isfinite(time.ratio):
                    text = f"{signed(100 * (time.ratio - 1), 0)}%\n{text}"
                x = bar.get_x() + bar.get_width() / 2
                style.above(panel, x, time.seconds, end, text, bold=saved)
        panel.set_ylim(0, 1.25 * panel.get_ylim()[1])
        datasets = here.dataset.unique()
        names = [heading(context, name, spec.panels[name]) for name in datasets]
        panel.set_xticks(range(len(names)), names)
        panel.tick_params(axis="x", length=0)
        panel.set(xlabel="", ylabel="seconds per epoch" if panel is axes[0][0] else "")
    style.legend(figure, axes[0])
    return figure
