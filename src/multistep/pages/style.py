"""How figures look: one theme, a look per method that its name alone decides, reproducible bytes.

matplotlib and seaborn are imported where something is drawn: Snakemake reads what pages say, and
draws nothing.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multistep.files import atomic_write
from multistep.pages import DataFrame, sns
from multistep.pages.context import Context

if TYPE_CHECKING:  # figures annotate what they draw with `style.Figure` and so on
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
else:
    Axes = Axis = Figure = Any

INK, QUIET, HAIR = "#1b1f24", "#57606a", "#d8dee4"
COLUMN, PAGE = 3.25, 6.75  # inches: one panel fits a paper's column, more fit its two columns
SMALL = 7  # points: the smallest text
_LINE = 1.6 * SMALL / 72  # inches from one line of a legend to the next
BARS: dict[str, Any] = {"saturation": 1, "errorbar": None, "linewidth": 0}  # as seaborn takes them

# Okabe and Ito (2008), told apart under the common colour-vision deficiencies; yellow is left out
# because it vanishes on white. Markers say the same again for print without colour; dashed lines
# with open markers show where lines lie on top of each other.
BLUE, VERMILION, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, BLACK = "#56B4E9", "#E69F00", "#000000"
_MARKERS = {BLUE: "o", VERMILION: "s", GREEN: "^", PINK: "D", SKY: "v", ORANGE: "P", BLACK: "X"}
_DASHES = ((4, 1.5), (1, 1.2), (6, 1.5, 1, 1.5), (2.5, 1), (4, 1, 1, 1, 1, 1))
# By name: no figure has methods of both halves of the paper.
_SOLID = {"maml": BLUE, "fomaml": VERMILION, "multistep2": GREEN, "multistep4": PINK}
_SOLID |= {"multistep8": SKY, "scratch": ORANGE, "l2t": BLACK, "l2t_multistep": BLUE}
_DASHED = {"anil": (ORANGE, 0), "anil_uncached": (BLACK, 1), "imaml": (BLUE, 2)}
_DASHED |= {"maml_replay": (VERMILION, 3), "reptile": (GREEN, 4), "memory_reduced": (PINK, 0)}
_DASHED |= {"l2t_first_order": (VERMILION, 0)}

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # shipped with matplotlib, so every machine draws the same
    **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), SMALL),
    **dict.fromkeys(("text.color", "axes.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), QUIET),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.7),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 3),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    "svg.hashsalt": "multistep",  # identifiers inside the svg, otherwise random
    "pdf.fonttype": 42,  # text that can be searched
}
RC |= {"axes.titlelocation": "left", "axes.titleweight": "bold", "axes.grid": True}
RC |= {"axes.grid.axis": "y", "grid.color": HAIR, "grid.linewidth": 0.6}
RC |= {"lines.linewidth": 1.3, "lines.markersize": 3.8}


def theme() -> Any:
    """What is drawn inside looks like all figures."""
    import matplotlib

    modules: dict[str, Any] = sys.modules
    if not modules.keys() & {"seaborn", "scipy"}:
        # Half a second for what isn't drawn here: densities and clusters.
        modules["scipy"] = None
        _ = sns.lineplot  # which imports it
        modules.pop("scipy")
    paper: dict[Any, Any] = {**sns.axes_style("ticks"), **sns.plotting_context("paper"), **RC}
    return matplotlib.rc_context(paper)


@dataclass(frozen=True)
class Look:
    """The colour, marker, dashes and short name of a method, the same in every figure."""

    colour: str
    marker: str
    name: str
    dashes: tuple[float, ...] | None = None  # lengths in line widths; None: a solid line


def look(context: Context, method: str) -> Look:
    """A method's look follows from its name, so that no other method can change it."""
    name = context.methods.get(method, method).removesuffix(" (ours)")
    if colour := _SOLID.get(method):
        return Look(colour, _MARKERS[colour], name)
    turn, rest = divmod(zlib.crc32(method.encode()), len(_MARKERS))
    colour, dashes = _DASHED.get(method, ([*_MARKERS][rest], turn % len(_DASHES)))
    return Look(colour, _MARKERS[colour], name, _DASHES[dashes])


def panels(
    rows: DataFrame, shape: tuple[int, int], height: float = 1.9, width: float = 0, **grid: Any
) -> tuple[Figure, Any]:
    """A figure with a grid of panels, `height` inches each, and its axes [rows, columns].

    Without `rows` of data one panel says so; `grid` is what matplotlib's `subplots` takes.
    """
    from matplotlib.figure import Figure

    down, across = max(1, shape[0]), max(1, shape[1])
    size = (width or (PAGE if across > 1 else COLUMN), down * height)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, **grid)
    if rows.empty:
        for panel in axes.flat:
            panel.set_axis_off()
        middle = {"transform": axes[0][0].transAxes, "ha": "center", "va": "center"}
        axes[0][0].text(0.5, 0.5, "nothing to show yet", color=QUIET, **middle)
    return figure, axes


def badge(figure: Figure, text: str) -> None:
    """Say above the panels why a picture isn't the paper's: it may be seen alone."""
    figure.set_figheight(figure.get_figheight() + 0.25)
    box = {"boxstyle": "round,pad=0.3", "facecolor": "#fff8c5", "edgecolor": "#d4a72c"}
    figure.suptitle(text, x=0.99, ha="right", size=SMALL, bbox=box | {"linewidth": 0.5})


def ordered(rows: DataFrame, **orders: Iterable[str]) -> DataFrame:
    """Rows with values of `orders`, in these orders; equals as they were."""
    for column, order in reversed(orders.items()):
        place = {name: i for i, name in enumerate(order)}
        rows = rows[rows[column].isin(place)]
        rows = rows.sort_values(column, key=lambda names: names.map(place.get), kind="stable")
    return rows.reset_index(drop=True)


def lines(
    axes: Axes,
    context: Context,
    rows: DataFrame,
    x: str,
    y: str,
    *,
    bands: bool = False,
    open_markers: int = 8,
) -> None:
    """One line a method, with the spread from `<y>_low` to `<y>_high` where rows have it.

    The spread is drawn as bars, or as `bands`. A line has about eight markers at most, a dashed
    one so many `open_markers`; they stand in turns, since lines may lie on top of each other.
    """
    looks = {method: look(context, method) for method in rows.method.unique()}
    sns.lineplot(
        rows,
        x=x,
        y=y,
        hue="method",
        style="method",
        estimator=None,
        legend=False,
        ax=axes,
        palette={method: of.colour for method, of in looks.items()},
        markers={method: of.marker for method, of in looks.items()},
        dashes={method: of.dashes or "" for method, of in looks.items()},
    )
    for turn, (line, (method, of)) in enumerate(zip(axes.lines, looks.items(), strict=True)):
        here = rows[rows.method == method]
        step = -(-len(here) // (open_markers if of.dashes else 8))
        line.set(label=of.name, markeredgecolor=of.colour, markevery=(turn % step, step))
        if of.dashes:
            line.set(markerfacecolor="none", markersize=4.5, markeredgewidth=0.9)
        if f"{y}_low" in rows:
            spread = (here[x], here[f"{y}_low"], here[f"{y}_high"])
            if bands:
                axes.fill_between(*spread, color=of.colour, alpha=0.15, linewidth=0)
            else:
                axes.vlines(*spread, color=of.colour, linewidth=0.8)
    axes.set(xlabel="", ylabel="")


def legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """What is drawn in some panels, each name once, at the right of all."""
    found = {
        label: handle
        for panel in axes
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.set_figheight(max(figure.get_figheight(), _LINE * (len(found) + 1)))  # room for all
    figure.legend(found.values(), found.keys(), loc="outside right center")


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write (x, y, text, colour) at the right edge of a panel, pushed apart where they collide.

    A thin line leads from each label to its point, so that a shifted label stays readable.
    """
    from matplotlib.collections import LineCollection

    ordered = sorted(ends, key=lambda end: end[1])
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    heights = [(y - low) / (high - low) for _, y, _, _ in ordered]
    leaders, colours = [], [colour for *_, colour in ordered]
    for end, height, place in zip(ordered, heights, apart(heights, spacing=0.085), strict=True):
        at: dict[str, Any] = {"transform": axes.transAxes, "va": "center", "size": SMALL}
        axes.text(1.08, place, end[2], color=end[3], **at)
        leaders.append([((end[0] - left) / (right - left) + 0.02, height), (1.07, place)])
    drawn: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False, "linewidths": 0.4}
    axes.add_collection(LineCollection(leaders, colors=colours, **drawn), autolim=False)


def apart(places: Sequence[float], spacing: float) -> list[float]:
    """Rising places in [0, 1], moved as little as puts them `spacing` apart (less if too many).

    Least squares: without the spacing it is isotonic regression.
    """
    from scipy.optimize import isotonic_regression  # type: ignore[import-untyped]

    if not places:
        return []
    spacing = min(spacing, 1 / max(1, len(places) - 1))
    steps = [i * spacing for i in range(len(places))]
    shifts = isotonic_regression([p - s for p, s in zip(places, steps, strict=True)]).x
    return [min(max(shift, 0.0), 1 - steps[-1]) + s for shift, s in zip(shifts, steps, strict=True)]


def above(
    axes: Axes, x: float, y: float, sd: float, text: str, *, over: float = 0, bold: bool = False
) -> None:
    """Draw the ± of a bar that ends at `y`, and write above it, or above `over`."""
    axes.vlines(x, y - sd, y + sd, color=INK, linewidth=0.8)
    how: dict[str, Any] = {"ha": "center", "size": SMALL, "weight": "bold" if bold else "normal"}
    place = (x, max(y + sd, over))
    axes.annotate(text, place, xytext=(0, 2), textcoords="offset points", **how)


def round_ticks(axis: Axis, count: int | None = None, *, whole: bool = False) -> None:
    """At most `count` ticks at round numbers, or at whole ones, with commas between thousands."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(count or "auto", integer=whole))
    axis.set_major_formatter(lambda value, _: f"{value:,g}")


def spread_high(axes: Axes) -> None:
    """Let an axis of accuracies (%) run by the logarithm of 101 minus them, so that from 95 to 99%
    there is as much room as from 60 to 87.
    """
    import numpy as np

    def forward(y: Any) -> Any:  # matplotlib also asks for what is beyond its data
        return -np.log(np.maximum(101 - y, 0.5))

    axes.set_yscale("function", functions=(forward, lambda x: 101 - np.exp(-x)))
    low = max(0, axes.get_ylim()[0])
    axes.set_yticks([tick for tick in (20, 60, 80, 90, 95, 98, 100) if tick >= low])
    axes.set_ylim(bottom=low)


def save(figure: Figure, prefix: Path, about: dict[str, str]) -> list[Path]:
    """Write `<prefix>.svg`, `.png` and `.pdf` without dates, so equal figures are equal files.

    `about`: the "Title" and the "Description" in their metadata, for readers of the file alone.
    """
    undated = {"svg": ("Date", "Creator"), "png": ("Software",)}
    undated["pdf"] = ("Creator", "Producer", "CreationDate")
    paths = []
    for kind, without in undated.items():
        if kind == "pdf":
            about = {"Title": about["Title"], "Subject": about["Description"]}
        metadata = {**about, **dict.fromkeys(without)}
        paths.append(prefix.with_name(f"{prefix.name}.{kind}"))
        with theme(), atomic_write(paths[-1]) as file:
            figure.savefig(file, format=kind, dpi=220, metadata=metadata)
    return paths
