"""Learning curves of transfer: validation accuracy over epochs and over training time."""

from collections.abc import Sequence
from typing import Any

from multistep.pages import DataFrame, query, style
from multistep.pages.context import Context
from multistep.pages.figures import curves
from multistep.pages.spec import Panels, Wants

COLUMNS = (
    "dataset experiment method epoch seconds accuracy accuracy_low accuracy_high test_accuracy "
    "train_accuracy seeds clock device source scale data"
)


class Spec(Panels):
    """Validation accuracy after each epoch: mean over seeds, band from lowest to highest."""

    def wants(self) -> Wants:
        return Wants([(self.experiments[d], d, m) for d in self.panels for m in self.methods])


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> DataFrame:
    """Accuracies (%) in drawing order, at the epochs that all seeds of a cell have run."""
    data = query.data(spec, context, records, history=True)
    return curves.curves(data, "epoch", test_accuracy="mean", train_accuracy="mean")


def notes(spec: Spec, context: Context, rows: DataFrame) -> list[str]:
    """As of all learning curves."""
    return curves.notes(spec, context, rows, "dataset")


def draw(spec: Spec, context: Context, rows: DataFrame) -> style.Figure:
    """One row of two panels (epochs, time) per dataset, one line per method."""
    return curves.draw(spec, context, rows, "dataset", "epoch", "epochs")
