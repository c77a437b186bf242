"""Norms of the meta-gradient and of its weight decay over epochs: which of them moves θ."""

from collections.abc import Sequence
from typing import Any

from multistep.pages import DataFrame, query, sns, style
from multistep.pages.context import Context
from multistep.pages.figures import names, nothing_of, of_seeds, over_seeds, seeds
from multistep.pages.spec import OneExperiment

COLUMNS = "method term epoch norm norm_low norm_high seeds device source scale data"
_TERMS = {"meta_gradient_norm": "meta-gradient", "meta_decay_norm": "weight decay"}


class Spec(OneExperiment):
    """Norms of the meta-gradient and of the weight decay that Adam adds to it, by epoch."""


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> DataFrame:
    """The norm of each term of the step of θ, averaged over the mini-batches of an epoch.

    In drawing order, at the epochs that all seeds recorded.
    """
    wide = over_seeds(query.data(spec, context, records, history=True), "epoch", *_TERMS)
    long = wide.melt(wide.columns.difference([*_TERMS]), [*_TERMS], "term", "norm")
    ends = {"norm_low": ("norm", "min"), "norm_high": ("norm", "max")}
    found = of_seeds(long.replace({"term": _TERMS}), **ends, norm=("norm", "mean"))
    return style.ordered(found, method=spec.methods)


def notes(spec: Spec, context: Context, rows: DataFrame) -> list[str]:
    """What lines and bands are, and what can't be drawn."""
    gone = " Norms of exactly zero have no place on a logarithmic scale."
    called = names(context, spec.methods)
    over = seeds(rows, called, "; bands: lowest and highest seed")
    lines = f"Lines: mean over {over}.{gone if (rows.norm <= 0).any() else ''}"
    return [lines, nothing_of(called, rows[rows.norm > 0])]


def draw(spec: Spec, context: Context, rows: DataFrame) -> style.Figure:
    """One panel per method on a common logarithmic scale: the two terms."""
    shown = rows[rows.norm > 0]
    figure, axes = style.panels(shown, (1, shown.method.nunique()), sharey=True)
    for panel, (method, here) in zip(axes[0], shown.groupby("method", sort=False), strict=False):
        look = style.look(context, method)
        inks = dict(zip(_TERMS.values(), (look.colour, style.QUIET), strict=True))
        few = "o" if here.epoch.nunique() < 10 else None
        drawn = {"hue": "term", "palette": inks, "style": "term", "marker": few}
        sns.lineplot(here, x="epoch", y="norm", estimator=None, ax=panel, **drawn)
        for term, line in here.groupby("term"):
            low = line.norm_low.clip(lower=1e-3 * line.norm)
            band = {"color": inks[term], "alpha": 0.15, "linewidth": 0}
            panel.fill_between(line.epoch, low, line.norm_high, **band)
        panel.set(yscale="log", title=look.name)
        panel.legend(title=None)
        style.round_ticks(panel.xaxis, whole=True)
    return figure
