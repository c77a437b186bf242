"""Where transfer happens: the mean weight λ of each pair of taps, during training."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from multistep.pages import DataFrame, query, sns, style
from multistep.pages.context import Context
from multistep.pages.figures import cells, names, nothing_of, seeds
from multistep.pages.frame import CELL
from multistep.pages.spec import OneExperiment

COLUMNS = "method epoch source_tap target_tap weight dead seeds device source scale data"
_DEAD = 0.5  # share of an epoch's mini-batches from which on a pair is marked


class Spec(OneExperiment):
    """Rows of a map are taps of the source network, columns taps of the target network.

    × marks a pair that got no meta-gradient in at least half of the epoch's mini-batches.
    """

    epochs: list[Annotated[int, Field(ge=1)]]  # counted from 1; the last one run is always shown


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> DataFrame:
    """All fields of the heat maps: epochs of the spec that all seeds ran, and the last one.

    λ of each pair is averaged over an epoch's mini-batches and over seeds; `dead` is the share of
    mini-batches in which no sample gave the pair a slope.
    """
    data = query.data(spec, context, records, history=True)
    numbers = data.numbers.astype(dict.fromkeys((*CELL, "quantity"), object))
    pairs = numbers.quantity.str.extract(r"^lambda_(mean|dead)\.\((\d+), (\d+)\)$")
    numbers[["what", "source_tap", "target_tap"]] = pairs
    numbers = numbers.dropna(subset="what").astype({"source_tap": int, "target_tap": int})
    numbers["seeds"] = numbers.groupby(CELL).seed.transform("nunique")
    by = [*CELL, "epoch", "source_tap", "target_tap", "seeds"]
    found = numbers.pivot_table("value", [*by, "seed"], "what").groupby(by).agg(["mean", "size"])
    found = found[found[("mean", "size")] == found.index.get_level_values("seeds")]
    found = found.xs("mean", axis=1, level=1).reset_index()
    last = found.groupby(CELL).epoch.transform("max")
    found = found[found.epoch.isin(spec.epochs) | (found.epoch == last)]
    return cells(data).merge(found, on=CELL).rename(columns={"mean": "weight"})


def notes(spec: Spec, context: Context, rows: DataFrame) -> list[str]:
    """What λ is a mean of, and what × marks."""
    called = names(context, spec.methods)
    return [
        f"λ averaged over the mini-batches of an epoch and over {seeds(rows, called)}. ×: a pair "
        "that gave no slope in at least half of the mini-batches; in those its λ could not learn.",
        nothing_of(called, rows),
    ]


def draw(spec: Spec, context: Context, rows: DataFrame) -> style.Figure:
    """Rows of heat maps for each method, a map per epoch, one colour scale for all."""
    methods, epochs = list(rows.method.unique()), sorted(rows.epoch.unique())
    lines = max(1, math.ceil(len(epochs) / 4))  # of maps for a method
    across = math.ceil(len(epochs) / lines)
    height = 0.6 + 0.28 * rows.source_tap.nunique()
    figure, axes = style.panels(rows, (lines * len(methods), across), height=height)
    colours = sns.color_palette("cividis", as_cmap=True)
    top, small = rows.weight.max() or 1.0, {"size": style.SMALL, "linespacing": 0.9}
    for panel in axes.flat:
        panel.set_axis_off()
    for (method, epoch), here in rows.groupby(["method", "epoch"], sort=False):
        down, x = divmod(epochs.index(epoch), across)
        panel = axes[methods.index(method) * lines + down][x]
        panel.set_axis_on()
        of = here.set_index(["source_tap", "target_tap"])
        weight, dead = of.weight.unstack(), of.dead.unstack()
        text = weight.map("{:.2f}".format) + (dead >= _DEAD).map({True: "\n×", False: ""}.get)
        drawn = {"cmap": colours, "vmin": 0, "vmax": top, "annot_kws": small, "cbar": False}
        sns.heatmap(weight, annot=text, fmt="", ax=panel, **drawn)
        for label, value in zip(panel.texts, weight.values.flat, strict=True):
            light = sns.utils.relative_luminance(colours(value / top)) >= 0.18
            label.set_color(style.INK if light else "white")  # which has more contrast
        name = f"{style.look(context, method).name}, " if x == 0 else ""
        panel.set(title=f"{name}epoch {epoch}", xlabel="target tap")
        panel.set_ylabel("source tap" if x == 0 else "")
        panel.tick_params(length=0, rotation=0)
    return figure
