"""Norms of the meta-gradient and of its weight decay over epochs: which of them moves θ."""

from __future__ import annotations

from collections.abc import Sequence

from multistep.pages import style
from multistep.pages.context import Context
from multistep.pages.query import Point, Result, group_results, of_seeds, shared
from multistep.pages.spec import OneExperiment
from multistep.stats import over_seeds

COLUMNS = "method term epoch norm norm_low norm_high seeds device source scale data"
_TERMS = {"meta_gradient_norm": "meta-gradient", "meta_decay_norm": "weight decay"}


class Spec(OneExperiment):
    """Norms of the meta-gradient and of the weight decay that Adam adds to it, by epoch."""


def points(spec: Spec, context: Context, records: Sequence[Result]) -> list[Point]:
    """The norm of each term of the step of θ, averaged over the mini-batches of an epoch.

    In drawing order, at the epochs that all seeds recorded.
    """
    groups = group_results(spec, context, records)
    found = []
    for names in spec.wants().cells:
        results = groups.get(names, [])
        for key, term in _TERMS.items():
            histories = [result["history"] for result in results]
            seeds = [{e["epoch"]: e[key] for e in h if e[key] is not None} for h in histories]
            for epoch in shared(seeds):
                norms = [float(seed[epoch]) for seed in seeds]
                found.append(
                    Point(
                        **of_seeds(context, results),
                        term=term,
                        epoch=epoch + 1,
                        norm=over_seeds(norms)[0],
                        norm_low=min(norms),
                        norm_high=max(norms),
                    )
                )
    return found


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> style.Figure:
    """One panel per method on a common logarithmic scale: the two terms."""
    zeros = any(point.norm <= 0 for point in points)
    gone = " Norms of exactly zero have no place on a logarithmic scale." if zeros else ""
    over = style.seeds(points, "; bands: lowest and highest seed")
    notes = [f"Lines: mean over {over}.{gone}"] if points else []
    lines = style.lines(spec, context, points)
    with style.theme():
        figure, axes = style.panels(spec, context, points, notes, (1, len(lines)), wspace=0.12)
        if not points:
            return figure
        for panel, (look, here) in zip(axes[0], lines, strict=True):
            for term, ink, dashes in (
                ("meta-gradient", look.colour, "-"),
                ("weight decay", style.QUIET, (0, (4, 2))),
            ):
                line = [point for point in here if point.term == term and point.norm > 0]
                if not line:
                    continue
                x = [point.epoch for point in line]
                low = [max(point.norm_low, 1e-3 * point.norm) for point in line]
                high = [point.norm_high for point in line]
                panel.fill_between(x, low, high, color=ink, alpha=0.15, linewidth=0)
                few = "o" if len(line) < 10 else None
                norms = [point.norm for point in line]
                panel.plot(x, norms, color=ink, linestyle=dashes, marker=few, label=term)
            panel.set_yscale("log")
            panel.set_title(look.name)
            panel.set_xlabel("epoch")
            style.round_ticks(panel.xaxis, whole=True)
            panel.sharey(axes[0][0])
            panel.legend(loc="best")
        axes[0][0].set_ylabel("norm")
        for panel in axes[0][1:]:
            panel.tick_params(labelleft=False)
    return figure
