"""Learning curves of transfer: validation accuracy over epochs and over training time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from multistep.pages import learning
from multistep.pages.context import Context
from multistep.pages.query import Point, Result, group_results, of_seeds, shared, training_seconds
from multistep.pages.spec import Panels, Wants
from multistep.stats import over_seeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    "dataset experiment method epoch seconds accuracy accuracy_low accuracy_high test_accuracy "
    "train_accuracy seeds clock device source scale data"
)


class Spec(Panels):
    """Validation accuracy after each epoch: mean over seeds, band from lowest to highest."""

    def wants(self) -> Wants:
        return Wants([(self.experiments[d], d, m) for d in self.panels for m in self.methods])


def points(spec: Spec, context: Context, records: Sequence[Result]) -> list[Point]:
    """Accuracies (%) in drawing order, at the epochs that all seeds of a cell have run."""
    groups = group_results(spec, context, records)
    found = []
    for names in spec.wants().cells:
        seeds, clock = [], ""
        for result in groups.get(names, []):
            times, clock = training_seconds(result)
            pairs = zip(result["history"], times, strict=True)
            seeds.append({int(e["epoch"]): {**e, "seconds": float(s)} for e, s in pairs})
        for epoch in shared(seeds):
            values = {key: [seed[epoch][key] for seed in seeds] for key in seeds[0][epoch]}
            found.append(
                Point(
                    **of_seeds(context, groups[names]),
                    dataset=names[1],  # as the figure calls it
                    epoch=epoch + 1,  # trained so far
                    seconds=over_seeds(values["seconds"])[0],  # of training alone
                    accuracy=over_seeds(values["validation_accuracy"])[0],
                    accuracy_low=min(values["validation_accuracy"]),
                    accuracy_high=max(values["validation_accuracy"]),
                    split="validation",
                    test_accuracy=over_seeds(values["test_accuracy"])[0],
                    train_accuracy=over_seeds(values["train_accuracy"])[0],  # of mini-batches
                    clock=clock,
                )
            )
    return found


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> Figure:
    """One row of two panels (epochs, time) per dataset, one line per method."""
    timed = " without loading and evaluation"
    return learning.draw(spec, context, points, "dataset", "epoch", "epochs", timed=timed)
