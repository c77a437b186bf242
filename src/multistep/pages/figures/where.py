"""Where transfer happens: the mean weight λ of each pair of taps, during training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from multistep.pages import style
from multistep.pages.context import Context
from multistep.pages.query import Result, devices, group_results, sources
from multistep.pages.spec import OneExperiment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_DEAD = 0.5  # share of an epoch's mini-batches from which on a pair is marked


class Spec(OneExperiment):
    """Rows of a map are taps of the source network, columns taps of the target network.

    × marks a pair that got no meta-gradient in at least half of the epoch's mini-batches.
    """

    epochs: list[Annotated[int, Field(ge=1)]]  # counted from 1; the last one run is always shown


@dataclass(frozen=True)
class Point:
    """λ of one pair, averaged over the mini-batches of an epoch and over seeds."""

    method: str
    epoch: int  # from 1
    source_tap: int
    target_tap: int
    weight: float
    dead: float  # share of mini-batches in which no sample gave the pair a slope
    seeds: int
    device: str
    source: str
    scale: str
    data: str


def points(spec: Spec, context: Context, records: Sequence[Result]) -> list[Point]:
    """All cells of the heat maps: epochs of the spec that all seeds ran, and the last one."""
    groups = group_results(spec, context, records)
    found = []
    for method in spec.methods:
        results = groups.get((spec.experiment, spec.dataset, method), [])
        seeds = [
            {int(e["epoch"]) + 1: e for e in r["history"] if e["lambda_mean"] is not None}
            for r in results
        ]
        ran = sorted(set.intersection(*map(set, seeds))) if seeds else []
        if not ran:
            continue
        settings = results[0]["cell"]["settings"]
        pairs = [(m, n) for m in settings["source_taps"] for n in settings["target_taps"]]
        for epoch in sorted({*spec.epochs, ran[-1]} & set(ran)):
            weights = np.mean([seed[epoch]["lambda_mean"] for seed in seeds], axis=0)
            dead = np.mean([seed[epoch]["lambda_dead"] for seed in seeds], axis=0)
            found += [
                Point(
                    method=method,
                    epoch=epoch,
                    source_tap=source_tap,
                    target_tap=target_tap,
                    weight=float(weight),
                    dead=float(share),
                    seeds=len(seeds),
                    device=devices(results),
                    source=sources({method: results})[0],
                    scale=context.scale,
                    data=context.dataset_title(context.dataset(spec.dataset)),
                )
                for (source_tap, target_tap), weight, share in zip(
                    pairs, weights, dead, strict=True
                )
            ]
    return found


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> Figure:
    """A row of heat maps per method, a column per epoch, one colour scale for all."""
    header = style.header(
        spec, context, [p.device for p in points], sources=[p.source for p in points]
    )
    methods = [m for m in spec.methods if any(point.method == m for point in points)]
    epochs = sorted({point.epoch for point in points})
    if points:
        over = style.seeds(point.seeds for point in points)
        header.append(
            (
                f"λ averaged over the mini-batches of an epoch and over {over}. ×: a pair that "
                "gave no slope in at least half of the mini-batches; in those its λ could not "
                "learn.",
                "quiet",
            )
        )
    with style.theme():
        figure, axes = style.panels(
            max(1, len(methods)), max(1, len(epochs)), header, panel=1.6 if points else 2.6
        )
        if not points:
            style.empty(axes[0], "nothing run")
            return figure
        figure.subplots_adjust(left=0.09, wspace=0.15)
        top = max(point.weight for point in points) or 1.0
        image: AxesImage | None = None
        for method, row in zip(methods, axes, strict=True):
            for epoch, panel in zip(epochs, row, strict=True):
                here = [p for p in points if (p.method, p.epoch) == (method, epoch)]
                if not here:
                    panel.set_axis_off()
                    continue
                image = _heat_map(panel, here, top)
                panel.set_title(f"epoch {epoch}", fontweight="normal")
                panel.set_xlabel("target tap")
            row[0].set_ylabel(f"{style.look(context, method).name}\nsource tap")
            row[0].yaxis.label.set_linespacing(1.6)
        assert image is not None
        bar = figure.colorbar(image, ax=axes, fraction=0.02, pad=0.02)
        bar.set_label("mean λ")
        bar.outline.set_visible(False)
    return figure


def _luminance(colour: Any) -> float:
    """Of an sRGB colour, 0 to 1; below 0.18 white text has more contrast than black."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))


def _heat_map(axes: Axes, points: Sequence[Point], top: float) -> AxesImage:
    """One method at one epoch; the number stands in every field."""
    rows = list(dict.fromkeys(point.source_tap for point in points))
    columns = list(dict.fromkeys(point.target_tap for point in points))
    grid = np.array([point.weight for point in points]).reshape(len(rows), len(columns))
    image = axes.imshow(grid, cmap="cividis", vmin=0, vmax=top, aspect="auto")
    for i, point in enumerate(points):
        y, x = divmod(i, len(columns))
        ink = "white" if _luminance(image.cmap(point.weight / top)) < 0.18 else style.INK
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
