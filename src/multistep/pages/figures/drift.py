"""Figure 1: how much the transfer gradient changes between consecutive inner steps."""

from collections.abc import Sequence
from typing import Any

from multistep.pages import DataFrame, pd, query, sns, style
from multistep.pages.context import Context
from multistep.pages.figures import names, nothing_of, of_seeds, over_seeds, seeds
from multistep.pages.spec import OneExperiment

COLUMNS = "method part seed iteration drift seeds device source scale data"
PARTS = {"all": "all parameters that it moves", "backbone": "the target network alone"}


class Spec(OneExperiment):
    """‖g(φ₂) − g(φ₁)‖ / ‖g(φ₂)‖ of the transfer gradient g at two consecutive inner steps."""


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> DataFrame:
    """The lines of every seed, and their mean at the iterations that all seeds recorded.

    A drift is a mean over `log_every` mini-batches; its part is all of φ that has a transfer
    gradient, or the backbone alone.
    """
    data = query.data(spec, context, records, history=True)
    wide = over_seeds(data, "iteration", "drift", "drift_backbone")
    wide = wide.rename(columns={"drift": "all", "drift_backbone": "backbone"})
    mean = of_seeds(wide, **{part: (part, "mean") for part in PARTS})
    every = pd.concat([wide.sort_values(["seed", "iteration"]), mean.assign(seed="mean")])
    long = every.melt(every.columns.difference([*PARTS]), [*PARTS], "part", "drift")
    return style.ordered(long, method=spec.methods, part=PARTS)


def notes(spec: Spec, context: Context, rows: DataFrame) -> list[str]:
    """What is drawn."""
    called = names(context, spec.methods)
    over = seeds(rows, called, "; light: each seed")
    return [
        "‖g(φ₂) − g(φ₁)‖ / ‖g(φ₂)‖, g: gradient of the transfer loss at two consecutive inner "
        f"steps of a mini-batch. Lines: mean over {over}.",
        nothing_of(called, rows),
    ]


def draw(spec: Spec, context: Context, rows: DataFrame) -> style.Figure:
    """Two panels (all of φ, the backbone alone): seeds as light lines, their mean dark."""
    figure, axes = style.panels(rows, (1, 2), sharey=True)
    looks = {method: style.look(context, method) for method in spec.methods}
    drawn: dict[str, Any] = {"x": "iteration", "y": "drift", "hue": "method", "estimator": None}
    drawn |= {"palette": {method: look.colour for method, look in looks.items()}}
    for panel, (part, here) in zip(axes[0], rows.groupby("part", sort=False), strict=False):
        mean = here.seed == "mean"
        if len(each := here[~mean & (here.seeds > 1)]):  # one seed is its own mean
            light = {"units": "seed", "linewidth": 0.6, "alpha": 0.35, "legend": False}
            sns.lineplot(each, ax=panel, **drawn, **light)
        sns.lineplot(here[mean], ax=panel, linewidth=1, **drawn)
        for text in panel.legend(loc="upper right").get_texts():
            text.set_text(looks[text.get_text()].name)
        panel.set(title=PARTS[part], xlabel="mini-batches", ylabel="relative change")
        panel.set(xlim=(0, None), ylim=(0, 1.05 * rows.drift.max()))
        style.round_ticks(panel.xaxis, 6)
    return figure
