"""Norms of the meta-gradient and of its weight decay over epochs: which of them moves θ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multistep import stats
from multistep.pages import style
from multistep.pages.context import Context
from multistep.pages.query import Result, devices, group_results, sources
from multistep.pages.spec import OneExperiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TERMS = {"meta_gradient_norm": "meta-gradient", "meta_decay_norm": "weight decay"}


class Spec(OneExperiment):
    """Norms of the meta-gradient and of the weight decay that Adam adds to it, by epoch."""


@dataclass(frozen=True)
class Point:
    """The norm of one term of the step of θ, a mean over the mini-batches of an epoch."""

    method: str
    term: str  # meta-gradient or weight decay
    epoch: int  # from 1
    norm: float  # mean over seeds
    norm_low: float  # lowest seed
    norm_high: float  # highest seed
    seeds: int
    device: str
    source: str
    scale: str
    data: str


def points(spec: Spec, context: Context, records: Sequence[Result]) -> list[Point]:
    """All points in drawing order, at the epochs that all seeds recorded."""
    groups = group_results(spec, context, records)
    found = []
    for method in spec.methods:
        results = groups.get((spec.experiment, spec.dataset, method), [])
        for key, term in _TERMS.items():
            seeds = [
                {int(e["epoch"]): float(e[key]) for e in r["history"] if e[key] is not None}
                for r in results
            ]
            shared = sorted(set.intersection(*map(set, seeds))) if seeds else []
            for epoch in shared:
                norms = [seed[epoch] for seed in seeds]
                found.append(
                    Point(
                        method=method,
                        term=term,
                        epoch=epoch + 1,
                        norm=stats.over_seeds(norms)[0],
                        norm_low=min(norms),
                        norm_high=max(norms),
                        seeds=len(norms),
                        device=devices(results),
                        source=sources({method: results})[0],
                        scale=context.scale,
                        data=context.dataset_title(context.dataset(spec.dataset)),
                    )
                )
    return found


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> Figure:
    """One panel per method on a common logarithmic scale: the two terms."""
    header = style.header(
        spec, context, [p.device for p in points], sources=[p.source for p in points]
    )
    methods = [m for m in spec.methods if any(point.method == m for point in points)]
    if points:
        over = style.seeds(point.seeds for point in points)
        band = "" if over == "1 seed" else "; bands: lowest and highest seed"
        zeros = any(point.norm <= 0 for point in points)
        gone = " Norms of exactly zero have no place on a logarithmic scale." if zeros else ""
        header.append((f"Lines: mean over {over}{band}.{gone}", "quiet"))
    with style.theme():
        figure, axes = style.panels(1, max(1, len(methods)), header)
        figure.subplots_adjust(wspace=0.12)
        if not points:
            style.empty(axes[0], "nothing run")
            return figure
        for panel, method in zip(axes[0], methods, strict=True):
            colour = style.look(context, method).colour
            for term in _TERMS.values():
                line = [p for p in points if (p.method, p.term) == (method, term) and p.norm > 0]
                if not line:
                    continue
                x = [point.epoch for point in line]
                low = [max(point.norm_low, 1e-3 * point.norm) for point in line]
                ink = colour if term == "meta-gradient" else style.QUIET
                high = [point.norm_high for point in line]
                panel.fill_between(x, low, high, color=ink, alpha=0.15, linewidth=0)
                few = "o" if len(line) < 10 else None
                dashes = "-" if term == "meta-gradient" else (0, (4, 2))
                norms = [point.norm for point in line]
                panel.plot(x, norms, color=ink, linestyle=dashes, marker=few, label=term)
            panel.set_yscale("log")
            panel.set_title(style.look(context, method).name)
            panel.set_xlabel("epoch")
            style.round_ticks(panel.xaxis, whole=True)
            panel.sharey(axes[0][0])
            panel.legend(loc="best")
        axes[0][0].set_ylabel("norm")
        for panel in axes[0][1:]:
            panel.tick_params(labelleft=False)
    return figure
