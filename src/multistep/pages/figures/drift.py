"""Figure 1: how much the transfer gradient changes between consecutive inner steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from multistep.pages import style
from multistep.pages.context import Context
from multistep.pages.query import Result, devices, group_results, sources
from multistep.pages.spec import OneExperiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = {"all": "all parameters that it moves", "backbone": "the target network alone"}


class Spec(OneExperiment):
    """‖g(φ₂) − g(φ₁)‖ / ‖g(φ₂)‖ of the transfer gradient g at two consecutive inner steps."""


@dataclass(frozen=True)
class Point:
    """‖g(φ₂) − g(φ₁)‖ / ‖g(φ₂)‖ at one mini-batch, g the gradient of the transfer loss."""

    method: str
    part: str  # all of φ that has a transfer gradient, or the backbone alone
    seed: str  # or "mean" over seeds
    iteration: int
    drift: float  # mean over `log_every` mini-batches
    seeds: int
    device: str
    source: str
    scale: str
    data: str


def points(spec: Spec, context: Context, records: Sequence[Result]) -> list[Point]:
    """The lines of every seed, and their mean at the iterations that all seeds recorded."""
    groups = group_results(spec, context, records)
    found = []
    for method in spec.methods:
        results = groups.get((spec.experiment, spec.dataset, method), [])
        recorded = [
            {int(at): (a, b) for e in r["history"] for at, a, b in e["drift"] or []}
            for r in results
        ]
        results = [result for result, seed in zip(results, recorded, strict=True) if seed]
        recorded = [seed for seed in recorded if seed]
        if not recorded:
            continue
        shared = sorted(set.intersection(*map(set, recorded)))
        lines = {str(r["cell"]["seed"]): seed for r, seed in zip(results, recorded, strict=True)}
        lines["mean"] = {at: tuple(np.mean([s[at] for s in recorded], axis=0)) for at in shared}
        found += [
            Point(
                method=method,
                part=part,
                seed=seed,
                iteration=at,
                drift=float(values[i]),
                seeds=len(recorded),
                device=devices(results),
                source=sources({method: results})[0],
                scale=context.scale,
                data=context.dataset_title(context.dataset(spec.dataset)),
            )
            for i, part in enumerate(PARTS)
            for seed, line in lines.items()
            for at, values in sorted(line.items())
        ]
    return found


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> Figure:
    """Two panels (all of φ, the backbone alone): seeds as light lines, their mean dark."""
    header = style.header(
        spec, context, [p.device for p in points], sources=[p.source for p in points]
    )
    if points:
        over = style.seeds(point.seeds for point in points)
        light = "" if over == "1 seed" else "; light: each seed"
        header.append(
            (
                "‖g(φ₂) − g(φ₁)‖ / ‖g(φ₂)‖, g: gradient of the transfer loss at two consecutive "
                f"inner steps of a mini-batch. Lines: mean over {over}{light}.",
                "quiet",
            )
        )
    with style.theme():
        figure, axes = style.panels(1, 2, header)
        figure.subplots_adjust(wspace=0.12)
        if not points:
            style.empty(axes[0], "nothing run")
            return figure
        for panel, (part, title) in zip(axes[0], PARTS.items(), strict=True):
            for method in spec.methods:
                look = style.look(context, method)
                lines: dict[str, list[Point]] = {}
                for point in points:
                    if point.method == method and point.part == part:
                        lines.setdefault(point.seed, []).append(point)
                for seed, line in lines.items():
                    mean = seed == "mean"
                    if len(lines) == 2 and not mean:
                        continue  # one seed is its own mean
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
