"""Learning curves: accuracy during meta-training against meta-iterations and against time."""

from __future__ import annotations

from collections.abc import Sequence

from multistep.pages import learning, style
from multistep.pages.context import Context
from multistep.pages.query import Point, Result, group_results
from multistep.pages.spec import FewShotFigure, Wants

COLUMNS = (
    "experiment method iteration tasks seconds accuracy accuracy_low accuracy_high seeds clock "
    "split ways device scale data"
)


class Spec(FewShotFigure):
    """Mean over seeds, band from the lowest to the highest.

    Validation accuracy where a validation split is held out, otherwise accuracy on the query sets
    of training tasks.
    """

    def wants(self) -> Wants:
        return Wants([(e, self.dataset, m) for e in self.panels for m in self.methods])


def points(spec: Spec, context: Context, results: Sequence[Result]) -> list[Point]:
    """Accuracies (%) in drawing order, at the meta-iterations that all seeds recorded."""
    groups = group_results(spec, context, results)
    histories = [result["history"] for group in groups.values() for result in group]
    key = "validation_accuracy"
    if not all(any(entry.get(key) is not None for entry in entries) for entries in histories):
        key = "train_accuracy"
    found = learning.points(spec, context, groups, "iteration", key)
    for point in found:
        cell = groups[(point.experiment, spec.dataset, point.method)][0]["cell"]
        point.iteration, point.ways = point.place, cell["settings"]["ways"]
        point.tasks = point.entries[0]["tasks"]  # seen so far
    return found


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> style.Figure:
    """One row of two panels (meta-iterations, time) per experiment, one line per method."""
    return learning.draw(
        spec, context, points, "experiment", "iteration", "meta-iterations", right=0.84
    )
