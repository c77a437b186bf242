"""The record of a meta-transfer cell and of its measurement, checked on write and on read."""

import math
from typing import Annotated

from pydantic import Field

from multistep.job.record import (
    Count,
    Facts,
    MeasurementRecord,
    Percent,
    Positive,
    Record,
    ResultRecord,
    Share,
    increasing,
    on_grid,
)


class Metrics(Record):
    """Accuracies in percent; the test's is that of the epoch with the best validation accuracy."""

    test_accuracy: Percent
    validation_accuracy: Percent
    best_epoch: Count
    last_test_accuracy: Percent
    epochs: int = Field(ge=1)
    train_images: int = Field(ge=1)
    test_images: int = Field(ge=1)


class Epoch(Record):
    """Means over an epoch of meta-transfer; what a method doesn't have is null.

    λ: one number per pair, source tap major; `lambda_dead`: share of batches in which no sample
    gave the pair a slope. `drift`: [iteration, all of φ, backbone alone], see appendix A.
    """

    epoch: Count
    iterations: int = Field(ge=1)
    lr: Positive
    train_loss: float
    train_accuracy: Percent
    validation_accuracy: Percent
    test_accuracy: Percent
    transfer_loss: float | None
    meta_loss: float | None
    meta_gradient_norm: Positive | None
    meta_decay_norm: Positive | None
    lambda_mean: list[Annotated[float, Field(ge=0)]] | None
    lambda_dead: list[Share] | None
    masked: Count
    drift: list[Annotated[tuple[int, float, float], Field(strict=False)]] | None


class Result(ResultRecord):
    metrics: Metrics
    history: list[Epoch]

    def facts(self) -> Facts:
        """The history is complete, and the metrics are those of its best epoch."""
        yield from super().facts()
        s, m, history = self.cell.settings, self.metrics, self.history
        batches = -(-m.train_images // s["batch_size"])
        yield "metrics.epochs", m.epochs, s["epochs"]
        yield "history: entries", len(history), m.epochs
        epochs = list(range(m.epochs))
        yield "history: epoch", [e.epoch for e in history], epochs
        yield (
            "history: iterations",
            [e.iterations for e in history],
            [(e + 1) * batches for e in epochs],
        )
        rates = [rate(s["lr"], s["schedule_offset"], s["epochs"], e) for e in epochs]
        yield "history: lr", [e.lr for e in history], rates
        accuracies = [e.test_accuracy for e in history]
        yield "history: test_accuracy", accuracies, on_grid(accuracies, m.test_images)
        best = max(history, key=lambda entry: entry.validation_accuracy)
        yield "metrics.best_epoch", m.best_epoch, best.epoch
        yield "metrics.test_accuracy", m.test_accuracy, best.test_accuracy
        yield "metrics.validation_accuracy", m.validation_accuracy, best.validation_accuracy
        yield "metrics.last_test_accuracy", m.last_test_accuracy, accuracies[-1]
        count = m.epochs * batches
        per_iteration = self.timing.train_seconds / count
        yield "timing.seconds_per_iteration", self.timing.seconds_per_iteration, per_iteration
        transfers = history[0].lambda_mean is not None
        yield "made_from.network", self.made_from.network is not None, transfers
        pairs = len(s["source_taps"]) * len(s["target_taps"]) if transfers else 0
        for key in ("lambda_mean", "lambda_dead"):
            lengths = [len(getattr(e, key) or []) for e in history]
            yield f"history: {key}", lengths, [pairs] * len(history)
        yield "cell.kind", self.cell.kind, "cell"
        for e in history:
            points = [point[0] for point in e.drift or []]
            inside = all(e.iterations - batches < p <= e.iterations for p in points)
            yield f"history: drift of epoch {e.epoch}", increasing(points) and inside, True


def rate(lr: float, offset: int, epochs: int, epoch: int) -> float:
    """The learning rate of an epoch (from 0): cosine to zero, eq. 55 with its missing η₀."""
    return lr / 2 * (1 + math.cos(math.pi * (epoch + offset) / epochs))


class MeasureRow(Record):
    """Seconds per mini-batch, loading and evaluation left out."""

    method: str
    seconds: list[Positive]
    bytes: Count


class Measurement(MeasurementRecord):
    """`iterations_per_epoch`: images of an epoch over those of a mini-batch, so the last mini-batch
    counts as what it is.
    """

    iterations_per_epoch: float = Field(gt=0)
    rows: list[MeasureRow]

    def facts(self) -> Facts:
        """One row for each method, with all mini-batches."""
        yield from super().facts()
        yield "rows", [row.method for row in self.rows], list(self.cell["methods"])
        batches = [self.cell["measure"]["batches"]] * len(self.rows)
        yield "rows: seconds", [len(row.seconds) for row in self.rows], batches
