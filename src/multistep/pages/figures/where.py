"""Where transfer happens: the mean weight λ of each pair of taps, during training."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from multistep.pages import style
from multistep.pages.context import Context
from multistep.pages.query import Point, Result, group_results, of_seeds, shared
from multistep.pages.spec import OneExperiment

COLUMNS = "method epoch source_tap target_tap weight dead seeds device source scale data"
_DEAD = 0.5  # share of an epoch's mini-batches from which on a pair is marked


class Spec(OneExperiment):
    """Rows of a map are taps of the source network, columns taps of the target network.

    × marks a pair that got no meta-gradient in at least half of the epoch's mini-batches.
    """

    epochs: list[Annotated[int, Field(ge=1)]]  # counted from 1; the last one run is always shown


def points(spec: Spec, context: Context, records: Sequence[Result]) -> list[Point]:
    """All cells of the heat maps: epochs of the spec that all seeds ran, and the last one.

    λ of each pair is averaged over an epoch's mini-batches and over seeds; `dead` is the share of
    mini-batches in which no sample gave the pair a slope.
    """
    groups = group_results(spec, context, records)
    found = []
    for names in spec.wants().cells:
        results = groups.get(names, [])
        seeds = [
            {int(e["epoch"]) + 1: e for e in r["history"] if e["lambda_mean"] is not None}
            for r in results
        ]
        ran = shared(seeds)
        for epoch in sorted({*spec.epochs, *ran[-1:]} & set(ran)):
            settings = results[0]["cell"]["settings"]
            pairs = itertools.product(settings["source_taps"], settings["target_taps"])
            weights, dead = (
                np.mean([seed[epoch][key] for seed in seeds], axis=0)
                for key in ("lambda_mean", "lambda_dead")
            )
            found += [
                Point(
                    **of_seeds(context, results),
                    epoch=epoch,
                    source_tap=source_tap,
                    target_tap=target_tap,
                    weight=float(weight),
                    dead=float(share),
                )
                for (source_tap, target_tap), weight, share in zip(
                    pairs, weights, dead, strict=True
                )
            ]
    return found


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> style.Figure:
    """A row of heat maps per method, a column per epoch, one colour scale for all."""
    lines = style.lines(spec, context, points)
    epochs = sorted({point.epoch for point in points})
    note = (
        f"λ averaged over the mini-batches of an epoch and over {style.seeds(points)}. ×: a pair "
        "that gave no slope in at least half of the mini-batches; in those its λ could not learn."
    )
    notes, height = ([note], 1.6) if points else ([], 2.6)
    with style.theme():
        shape = (len(lines), len(epochs))
        figure, axes = style.panels(spec, context, points, notes, shape, panel=height)
        if not points:
            return figure
        figure.subplots_adjust(left=0.09, wspace=0.15)
        top = max(point.weight for point in points) or 1.0
        image: style.AxesImage | None = None
        for (look, line), row in zip(lines, axes, strict=True):
            for epoch, panel in zip(epochs, row, strict=True):
                here = [point for point in line if point.epoch == epoch]
                if not here:
                    panel.set_axis_off()
                    continue
                image = _heat_map(panel, here, top)
                panel.set_title(f"epoch {epoch}", fontweight="normal")
                panel.set_xlabel("target tap")
            row[0].set_ylabel(f"{look.name}\nsource tap")
            row[0].yaxis.label.set_linespacing(1.6)
        assert image is not None
        bar = figure.colorbar(image, ax=axes, fraction=0.02, pad=0.02)
        bar.set_label("mean λ")
        bar.outline.set_visible(False)
    return figure


def _heat_map(axes: style.Axes, points: Sequence[Point], top: float) -> style.AxesImage:
    """One method at one epoch; the number stands in every field."""
    rows = list(dict.fromkeys(point.source_tap for point in points))
    columns = list(dict.fromkeys(point.target_tap for point in points))
    grid = np.array([point.weight for point in points]).reshape(len(rows), len(columns))
    image = axes.imshow(grid, cmap="cividis", vmin=0, vmax=top, aspect="auto")
    for i, point in enumerate(points):
        y, x = divmod(i, len(columns))
        colour = image.cmap(point.weight / top)[:3]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        luminance = np.dot(linear, (0.2126, 0.7152, 0.0722))  # of sRGB, 0 to 1
        ink = "white" if luminance < 0.18 else style.INK  # the one with more contrast
        mark = "\n×" if point.dead >= _DEAD else ""
        text = f"{point.weight:.2f}{mark}"
        axes.text(x, y, text, ha="center", va="center", color=ink, size=6.5, linespacing=0.9)
    axes.set_xticks(range(len(columns)), [str(tap) for tap in columns])
    axes.set_yticks(range(len(rows)), [str(tap) for tap in rows])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image
