"""Learning curves: accuracy during meta-training against meta-iterations and against time."""

from collections.abc import Sequence
from typing import Any

from multistep.pages import DataFrame, measured, query, style
from multistep.pages.context import Context
from multistep.pages.figures import (
    each,
    heading,
    missing,
    names,
    of_seeds,
    over_seeds,
    panels,
    seeds,
)
from multistep.pages.frame import CELL, CLOCKS
from multistep.pages.spec import FewShotFigure, Wants

COLUMNS = (
    "experiment method iteration tasks seconds accuracy accuracy_low accuracy_high seeds clock "
    "split ways device scale data"
)


class Spec(FewShotFigure):
    """Mean over seeds, band from the lowest to the highest.

    Validation accuracy where a validation split is held out, otherwise accuracy on the query sets
    of training tasks.
    """

    def wants(self) -> Wants:
        return Wants([(e, self.dataset, m) for e in self.panels for m in self.methods])


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> DataFrame:
    """Accuracies (%) in drawing order, at the meta-iterations that all seeds recorded."""
    data = query.data(spec, context, records, history=True)
    return curves(data, "iteration", tasks="first").astype({"tasks": int, "ways": int})


def curves(data: query.Data, at: str, **more: str) -> DataFrame:
    """The mean accuracy of each cell where all its seeds have one, lowest and highest, and seconds.

    `more`: how further quantities of the history are put together.
    """
    validated = data.numbers[data.numbers.quantity == "validation_accuracy"].dropna(subset=at)
    all_are = len(validated[[*CELL, "seed"]].drop_duplicates()) == len(data.runs)
    key = "validation_accuracy" if all_are else "train_accuracy"
    found = of_seeds(
        over_seeds(data, at, key, "seconds", *more),
        **{name: (name, how) for name, how in more.items()},
        seconds=("seconds", "mean"),
        accuracy=(key, "mean"),
        accuracy_low=(key, "min"),
        accuracy_high=(key, "max"),
    )
    return found.assign(split="validation" if all_are else "training")


def notes(spec: Any, context: Context, rows: DataFrame, key: str = "experiment") -> list[str]:
    """What lines and bands are, the clock, what was not run."""
    time = " or ".join(CLOCKS[clock] for clock in each(rows.clock))
    alone = " without loading and evaluation" if key == "dataset" else ""
    called = names(context, spec.methods)
    over = seeds(rows, called, "; bands: lowest and highest seed")
    return [
        f"Lines: mean over {over}. Time: {time}{alone}, mean over seeds.",
        "Axes of more than 90% run by the logarithm of 101 minus the accuracy."
        if high(rows)
        else "",
        missing("Not run", called, rows, spec.panels, key),
    ]


def high(rows: DataFrame) -> bool:
    """Whether what tells the methods apart would be lost at the upper end of an even axis."""
    return bool(rows.accuracy_high.max() > 90)


def draw(
    spec: Any,
    context: Context,
    rows: DataFrame,
    key: str = "experiment",
    at: str = "iteration",
    label: str = "meta-iterations",
) -> style.Figure:
    """Per value of `key` two panels beside each other (`at`, time), one line per method."""
    shown = panels(spec.panels, rows, key)
    height = min(1.9, 9 / max(1, len(shown)))  # all on a page
    figure, axes = style.panels(rows, (len(shown), 2), height=height, sharey="row")
    for (name, here), (left, right) in zip(shown.items(), axes, strict=False):
        unit, factor = measured.unit("time", max(1, here.seconds.max()))
        here = here.assign(time=here.seconds / factor)
        for panel, x in ((left, at), (right, "time")):
            style.lines(panel, context, here, x, "accuracy", bands=True)
            if key == "experiment":
                chance = {"color": style.QUIET, "linewidth": 0.8, "linestyle": (0, (4, 3))}
                panel.axhline(100 / here.ways.iloc[0], label="chance", **chance)
            panel.set_xlim(left=0)
            if high(here):
                style.spread_high(panel)
            style.round_ticks(panel.xaxis, 6, whole=x == "epoch")
        title = heading(context, name, spec.panels[name]) if key == "dataset" else spec.panels[name]
        split = "validation" if key == "dataset" else here["split"].iloc[0]
        left.set(xlabel=label, ylabel=f"{split}\naccuracy (%)", title=title.replace("\n", " "))
        right.set(xlabel=f"training time ({unit})")
    style.legend(figure, axes[:, 0])
    return figure
