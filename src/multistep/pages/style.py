"""How figures look: one type size ladder, one palette, and saving with reproducible bytes.

matplotlib is imported where something is drawn: Snakemake reads what pages say, and draws nothing.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multistep.files import atomic_write
from multistep.pages.context import Context
from multistep.pages.query import Point
from multistep.pages.spec import Spec

if TYPE_CHECKING:  # figures annotate what they draw with `style.Figure` and so on
    from contextlib import AbstractContextManager

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage as AxesImage

INK, QUIET, HAIR = "#1b1f24", "#57606a", "#d8dee4"

# Okabe and Ito (2008), told apart under the common colour-vision deficiencies; yellow is left out
# because it vanishes on white. Markers say the same again for print without colour. From the sixth
# method of a family on lines are dashed and markers open, so that lines on top of each other show.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_SOLID = 5
_DASHES = ((4, 1.5), (1, 1.2), (6, 1.5, 1, 1.5), (2.5, 1), (4, 1, 1, 1, 1, 1))
_FIRST = {"transfer": 5}  # the colour with which a family begins; the others at the first one

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # shipped with matplotlib, so every machine draws the same
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": HAIR,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "svg.hashsalt": "multistep",  # identifiers inside the svg, otherwise random
    "svg.fonttype": "path",
}


def theme() -> AbstractContextManager[None]:
    """What is drawn inside looks like all figures."""
    import matplotlib

    return matplotlib.rc_context(RC)


def round_ticks(axis: Axis, count: int | None = None, *, whole: bool = False) -> None:
    """At most `count` ticks at round numbers, or at whole ones."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(count or "auto", integer=whole))


@dataclass(frozen=True)
class Look:
    """The colour, marker, dashes and short name of a method, the same in every figure."""

    colour: str
    marker: str
    name: str
    dashes: tuple[float, ...] | None = None  # lengths in line widths; None: a solid line

    @property
    def line(self) -> dict[str, Any]:
        """How its line is drawn, as matplotlib takes it."""
        drawn = {"color": self.colour, "marker": self.marker}
        if self.dashes is None:
            return drawn
        open_marker = {"markerfacecolor": "none", "markersize": 5.5, "markeredgewidth": 1.1}
        return {**drawn, "linestyle": (0, self.dashes), **open_marker}


def look(context: Context, method: str) -> Look:
    """A method's look follows from its place among the methods of its family in params.yaml."""
    family = context.families.get(method, "")
    order = [name for name in context.methods if context.families.get(name, "") == family]
    place = order.index(method) if method in order else len(order)
    turn = place + _FIRST.get(family, 0)
    dashes = None if place < _SOLID else _DASHES[(place - _SOLID) % len(_DASHES)]
    name = context.methods.get(method, method).removesuffix(" (ours)")
    return Look(_COLOURS[turn % len(_COLOURS)], _MARKERS[turn % len(_MARKERS)], name, dashes)


def by_panel(
    headings: Mapping[str, str], points: Sequence[Point], key: str
) -> tuple[dict[str, list[Point]], list[str]]:
    """The points of each panel by its `key`, and the headings of panels without points."""
    found = {name: [p for p in points if getattr(p, key) == name] for name in headings}
    return (
        {panel: here for panel, here in found.items() if here},
        [headings[panel] for panel, here in found.items() if not here],
    )


def lines(spec: Any, context: Context, points: Sequence[Point]) -> list[tuple[Look, list[Point]]]:
    """The look and the points of each of a figure's methods that has any, in the spec's order."""
    found = [(look(context, m), [p for p in points if p.method == m]) for m in spec.methods]
    return [(of, line) for of, line in found if line]


def panels(
    spec: Spec,
    context: Context,
    points: Sequence[Point],
    notes: Sequence[str],
    shape: tuple[int, int] = (1, 2),
    *,
    datasets: Sequence[str] = (),
    nothing: str = "nothing run",
    panel: float = 2.6,
    widths: Sequence[float] | None = None,
    **adjust: float,
) -> tuple[Figure, Any]:
    """A figure with a grid of panels under a header; returns it and its axes [rows, columns].

    The header has what every figure says (title, caption, scale and data, sources and devices of
    the points, notes of the spec) and `notes`. Without points one panel says `nothing`. `datasets`:
    those that were used, as the spec calls them; none: all that it shows. `panel`: height of a
    panel in inches; `widths`: of the columns, relative to each other; `adjust`: margins, as
    matplotlib's `subplots_adjust` takes them.
    """
    from matplotlib.figure import Figure

    shown = datasets or spec.wants().datasets
    used = "; ".join(dict.fromkeys(point.device for point in points if point.device))
    sources = [point.source for point in points if vars(point).get("source")]
    provenance = context.provenance(*map(context.dataset, shown), sources=sources)
    header = [
        (spec.title, "title"),
        (spec.caption.format(data=context.titles(shown)) + spec.remark, "text"),
        (provenance + (f"; device: {used}" if used else ""), "quiet"),
        *((note, "quiet") for note in (*spec.notes, *notes)),
    ]
    width, gap, line = 10.0, 0.85, 0.19
    fits = {"title": 105, "text": 138, "quiet": 158}  # characters across the figure
    wrapped = [(part, role) for text, role in header for part in textwrap.wrap(text, fits[role])]
    rows, columns = max(1, shape[0]), max(1, shape[1])
    head = 0.15 + line * len(wrapped) + 0.4
    height = head + rows * panel + (rows - 1) * gap + 0.6
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, columns, squeeze=False, width_ratios=widths or None)
    margins = {"left": 0.07, "right": 0.86, "top": 1 - head / height, "bottom": 0.6 / height}
    figure.subplots_adjust(**{**margins, "hspace": gap / panel, **adjust})
    style: dict[str, dict[str, Any]] = {"title": {"weight": "bold", "size": 11}}
    style |= {"text": {"size": 9}, "quiet": {"size": 8, "color": QUIET}}
    for i, (text, role) in enumerate(wrapped):
        y = 1 - (0.15 + line * i) / height
        figure.text(0.015, y, text, va="top", ha="left", **style[role])
    if not points:
        for one in axes[0]:
            one.set_axis_off()
        place = {"transform": axes[0][0].transAxes, "ha": "center", "va": "center"}
        axes[0][0].text(0.5, 0.5, nothing, color=QUIET, **place)
    return figure, axes


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write (x, y, text, colour) at the right edge of a panel, pushed apart where they collide.

    A thin line leads from each label to its point, so that a shifted label stays readable.
    """
    low, high = axes.get_ylim()
    ordered = sorted(ends, key=lambda end: end[1])
    places = apart([(y - low) / (high - low) for _, y, _, _ in ordered], spacing=0.085)
    arrow = {"arrowstyle": "-", "linewidth": 0.5, "relpos": (0, 0.5), "shrinkB": 4}
    for (x, y, text, colour), place in zip(ordered, places, strict=True):
        axes.annotate(
            text,
            xy=(x, y),
            xytext=(1.08, place),
            textcoords=axes.transAxes,
            color=colour,
            size=8,
            va="center",
            annotation_clip=False,
            arrowprops={**arrow, "color": colour},
        )


def above(axes: Axes, x: float, y: float, text: str, **more: Any) -> None:
    """Write over a bar that ends at `y`."""
    more |= {"xytext": (0, 3), "textcoords": "offset points", "ha": "center", "size": 8}
    axes.annotate(text, (x, y), **more)


def apart(places: Sequence[float], spacing: float) -> list[float]:
    """Rising places in [0, 1], moved as little as puts them `spacing` apart (less if too many).

    Least squares: without the spacing it is isotonic regression, by pooling adjacent violators.
    """
    spacing = min(spacing, 1 / max(1, len(places) - 1))
    pools: list[tuple[float, int]] = []
    for i, place in enumerate(places):
        mean, count = place - i * spacing, 1
        while pools and pools[-1][0] > mean:
            before, number = pools.pop()
            mean = (before * number + mean * count) / (number + count)
            count += number
        pools.append((mean, count))
    shifts = [mean for mean, count in pools for _ in range(count)]
    top = 1 - (len(places) - 1) * spacing
    return [min(max(shift, 0.0), top) + i * spacing for i, shift in enumerate(shifts)]


def time_unit(largest: float) -> tuple[str, float]:
    """A readable unit of time for up to `largest` seconds, and its length in seconds."""
    if largest < 300:
        return "s", 1.0
    return ("min", 60.0) if largest < 3 * 3600 else ("h", 3600.0)


def wrap(name: str, width: int) -> str:
    """A name on as many lines as it needs under a bar."""
    return "\n".join(textwrap.wrap(name, width, break_on_hyphens=False))


def seeds(points: Sequence[Point], spread: str = "") -> str:
    """For headers: over how many seeds, e.g. "2 or 3 seeds", and how their spread is drawn."""
    numbers = sorted({point.seeds for point in points})
    text = " or ".join(map(str, numbers)) + (" seed" if numbers == [1] else " seeds")
    return text if numbers == [1] else text + spread


def save(figure: Figure, prefix: Path) -> list[Path]:
    """Write `<prefix>.svg` and `<prefix>.png` without dates, so equal figures are equal files."""
    paths = []
    for kind, dated in (("svg", ("Date", "Creator")), ("png", ("Software",))):
        buffer = BytesIO()
        with theme():
            figure.savefig(buffer, format=kind, dpi=160, metadata=dict.fromkeys(dated))
        path = prefix.with_name(f"{prefix.name}.{kind}")
        with atomic_write(path) as file:
            file.write(buffer.getvalue())
        paths.append(path)
    return paths
