"""Figure 1: how much the transfer gradient changes between consecutive inner steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multistep.pages import style
from multistep.pages.context import Context
from multistep.pages.query import Point, Result, group_results, of_seeds, shared
from multistep.pages.spec import OneExperiment

COLUMNS = "method part seed iteration drift seeds device source scale data"
PARTS = {"all": "all parameters that it moves", "backbone": "the target network alone"}


class Spec(OneExperiment):
    """‖g(φ₂) − g(φ₁)‖ / ‖g(φ₂)‖ of the transfer gradient g at two consecutive inner steps."""


def points(spec: Spec, context: Context, records: Sequence[Result]) -> list[Point]:
    """The lines of every seed, and their mean at the iterations that all seeds recorded.

    A drift is a mean over `log_every` mini-batches; its part is all of φ that has a transfer
    gradient, or the backbone alone.
    """
    groups = group_results(spec, context, records)
    found = []
    for names in spec.wants().cells:
        lines, results = {}, []
        for result in groups.get(names, []):
            drifts = [drift for entry in result["history"] for drift in entry["drift"] or []]
            if drifts:
                lines[str(result["cell"]["seed"])] = {int(at): (a, b) for at, a, b in drifts}
                results.append(result)
        if not lines:
            continue
        seeds = list(lines.values())
        lines["mean"] = {at: np.mean([s[at] for s in seeds], axis=0) for at in shared(seeds)}
        common = of_seeds(context, results)
        found += [
            Point(**common, part=part, seed=seed, iteration=at, drift=float(values[i]))
            for i, part in enumerate(PARTS)
            for seed, line in lines.items()
            for at, values in sorted(line.items())
        ]
    return found


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> style.Figure:
    """Two panels (all of φ, the backbone alone): seeds as light lines, their mean dark."""
    note = (
        "‖g(φ₂) − g(φ₁)‖ / ‖g(φ₂)‖, g: gradient of the transfer loss at two consecutive inner "
        f"steps of a mini-batch. Lines: mean over {style.seeds(points, '; light: each seed')}."
    )
    with style.theme():
        figure, axes = style.panels(spec, context, points, [note] if points else [], wspace=0.12)
        if not points:
            return figure
        for panel, (part, title) in zip(axes[0], PARTS.items(), strict=True):
            for look, here in style.lines(spec, context, [p for p in points if p.part == part]):
                lines: dict[str, list[Point]] = {}
                for point in here:
                    lines.setdefault(point.seed, []).append(point)
                if len(lines) == 2:  # one seed is its own mean
                    lines = {"mean": lines["mean"]}
                for seed, line in lines.items():
                    mean = seed == "mean"
                    panel.plot(
                        [point.iteration for point in line],
                        [point.drift for point in line],
                        color=look.colour,
                        linewidth=1.0 if mean else 0.7,
                        alpha=1.0 if mean else 0.3,
                        label=look.name if mean else None,
                    )
            panel.set_title(f"gradient with respect to {title}")
            panel.set_xlabel("mini-batches")
            panel.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
            style.round_ticks(panel.xaxis, 6)
            panel.set_xlim(left=0)
        axes[0][1].sharey(axes[0][0])
        axes[0][0].set_ylim(0, 1.05 * max(point.drift for point in points))
        axes[0][1].tick_params(labelleft=False)
        axes[0][0].set_ylabel("relative change")
        axes[0][1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure
