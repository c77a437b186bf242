"""Learning curves of both halves of the paper: accuracy over training, and over its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from multistep.pages import style
from multistep.pages.context import Context
from multistep.pages.query import Point, clocks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(
    spec: Any,
    context: Context,
    points: Sequence[Point],
    panel: str,
    x: str,
    label: str,
    *,
    timed: str = "",
    right: float = 0.86,
) -> Figure:
    """A row of two panels (`x`, called `label`, and time) per `panel`, one line per method.

    Points have an accuracy with its range over seeds, its split, seconds and their clock; those
    with `ways` get a line at chance level.
    """
    run, missing = style.by_panel(spec.panels, points, panel)
    datasets = list(run) if panel == "dataset" else []
    notes = []
    if points:
        over = style.seeds(points, "; bands: lowest and highest seed")
        time = clocks(point.clock for point in points)
        notes.append(f"Lines: mean over {over}. Time: {time}{timed}, mean over seeds.")
    if missing:
        notes.append(f"Not run: {', '.join(missing)}.")
    with style.theme():
        figure, axes = style.panels(
            spec, context, points, notes, (len(run), 2), datasets=datasets, right=right, wspace=0.12
        )
        for (name, here), (training, timing) in zip(run.items(), axes, strict=False):
            timing.sharey(training)
            timing.tick_params(labelleft=False)
            unit, factor = style.time_unit(max(point.seconds for point in here))
            for panel_axes, over_time in ((training, False), (timing, True)):
                for look, line in style.lines(spec, context, here):
                    xs = [p.seconds / factor if over_time else getattr(p, x) for p in line]
                    low = [point.accuracy_low for point in line]
                    high = [point.accuracy_high for point in line]
                    panel_axes.fill_between(
                        xs, low, high, color=look.colour, alpha=0.15, linewidth=0
                    )
                    ys = [point.accuracy for point in line]
                    every = max(1, len(line) // 8)
                    panel_axes.plot(xs, ys, markevery=every, label=look.name, **look.line)
                if ways := vars(here[0]).get("ways"):
                    dashes = {"linewidth": 0.8, "linestyle": (0, (4, 3))}
                    panel_axes.axhline(100 / ways, color=style.QUIET, label="chance", **dashes)
                else:
                    style.round_ticks(panel_axes.xaxis, 8, whole=not over_time)
                panel_axes.set_xlim(left=0)
                panel_axes.set_xlabel(f"training time ({unit})" if over_time else label)
                panel_axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
            stand_in = bool(datasets) and context.is_stand_in(context.dataset(name))
            heading = spec.panels[name] + (" (stand-in)" if stand_in else "")
            training.set_title(f"{heading}: against {label}")
            training.set_ylabel(f"{here[0].split} accuracy (%)")
            timing.set_title("against training time")
            timing.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure
