"""Learning curves of transfer: validation accuracy over epochs and over training time."""

from __future__ import annotations

from collections.abc import Sequence

from multistep.pages import learning, style
from multistep.pages.context import Context
from multistep.pages.query import Point, Result, group_results
from multistep.pages.spec import Panels, Wants
from multistep.stats import over_seeds

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
    found = learning.points(spec, context, groups, "epoch", "validation_accuracy")
    for point in found:
        point.epoch = point.place + 1  # trained so far
        for key in ("test_accuracy", "train_accuracy"):
            vars(point)[key] = over_seeds([entry[key] for entry in point.entries])[0]
    return found


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> style.Figure:
    """One row of two panels (epochs, time) per dataset, one line per method."""
    timed = " without loading and evaluation"
    return learning.draw(spec, context, points, "dataset", "epoch", "epochs", timed=timed)
