"""Learning curves: accuracy during meta-training against meta-iterations and against time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from multistep.pages import learning
from multistep.pages.context import Context
from multistep.pages.query import Point, Result, group_results, of_seeds, shared, training_seconds
from multistep.pages.spec import FewShotFigure, Wants
from multistep.stats import over_seeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    key, split = "validation_accuracy", "validation"
    if not all(any(entry.get(key) is not None for entry in entries) for entries in histories):
        key, split = "train_accuracy", "training"
    found = []
    for names in spec.wants().cells:
        seeds, clock = [], ""
        for result in groups.get(names, []):
            times, clock = training_seconds(result)
            pairs = zip(result["history"], times, strict=True)
            seeds.append({int(e["iteration"]): (e, s) for e, s in pairs if e.get(key) is not None})
        for iteration in shared(seeds):
            accuracies = [float(seed[iteration][0][key]) for seed in seeds]
            found.append(
                Point(
                    **of_seeds(context, groups[names]),
                    iteration=iteration,
                    tasks=seeds[0][iteration][0]["tasks"],  # seen so far
                    seconds=over_seeds([float(seed[iteration][1]) for seed in seeds])[0],
                    accuracy=over_seeds(accuracies)[0],
                    accuracy_low=min(accuracies),
                    accuracy_high=max(accuracies),
                    clock=clock,
                    split=split,
                    ways=groups[names][0]["cell"]["settings"]["ways"],
                )
            )
    return found


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> Figure:
    """One row of two panels (meta-iterations, time) per experiment, one line per method."""
    return learning.draw(
        spec, context, points, "experiment", "iteration", "meta-iterations", right=0.84
    )
