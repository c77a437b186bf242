"""Learning curves of both halves of the paper: accuracy over training, and over its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multistep.pages import style
from multistep.pages.context import Context
from multistep.pages.query import CLOCKS, Point, Result, of_seeds, shared, training_seconds
from multistep.stats import over_seeds


def points(
    spec: Any, context: Context, groups: dict[Any, list[Result]], at: str, key: str
) -> list[Point]:
    """Accuracies (%) `key` of the history where all seeds of a cell have one, in drawing order.

    `place` is where: the history's `at`; `entries` are the seeds' there.
    """
    found = []
    for names in spec.wants().cells:
        seeds, clock = [], ""
        for result in groups.get(names, []):
            times, clock = training_seconds(result)
            pairs = zip(result["history"], times, strict=True)
            seeds.append({int(e[at]): (e, float(s)) for e, s in pairs if e.get(key) is not None})
        for place in shared(seeds):
            entries = [seed[place][0] for seed in seeds]
            accuracies = [float(entry[key]) for entry in entries]
            found.append(
                Point(
                    **of_seeds(context, groups[names]),
                    dataset=names[1],  # as the figure calls it
                    place=place,
                    entries=entries,
                    seconds=over_seeds([seed[place][1] for seed in seeds])[0],  # of training
                    accuracy=over_seeds(accuracies)[0],
                    accuracy_low=min(accuracies),
                    accuracy_high=max(accuracies),
                    clock=clock,
                    split="training" if key == "train_accuracy" else "validation",
                )
            )
    return found


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
) -> style.Figure:
    """A row of two panels (`x`, called `label`, and time) per `panel`, one line per method.

    Points have an accuracy with its range over seeds, its split, seconds and their clock; those
    with `ways` get a line at chance level.
    """
    run, missing = style.by_panel(spec.panels, points, panel)
    datasets = list(run) if panel == "dataset" else []
    notes = []
    if points:
        over = style.seeds(points, "; bands: lowest and highest seed")
        time = " or ".join(dict.fromkeys(CLOCKS[point.clock] for point in points))
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
