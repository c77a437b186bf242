"""The record of a meta-transfer cell and of its measurement, checked on write and on read."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from multistep.job.record import CellRecord, Environment, MeasureUnit, Record, Timing


class TransferMetrics(Record):
    """Accuracies in percent; the test's is that of the epoch with the best validation accuracy."""

    test_accuracy: float = Field(ge=0, le=100)
    validation_accuracy: float = Field(ge=0, le=100)
    best_epoch: int
    last_test_accuracy: float = Field(ge=0, le=100)
    epochs: int
    train_images: int
    test_images: int


class Epoch(Record):
    """Means over an epoch of meta-transfer; what a method doesn't have is null.

    λ: one number per pair, source tap major; `lambda_dead`: share of batches in which no sample
    gave the pair a slope. `drift`: [iteration, all of φ, backbone alone], see appendix A.
    """

    epoch: int
    iterations: int
    lr: float
    train_loss: float
    train_accuracy: float
    validation_accuracy: float
    test_accuracy: float
    transfer_loss: float | None
    meta_loss: float | None
    meta_gradient_norm: float | None
    meta_decay_norm: float | None
    lambda_mean: list[float] | None
    lambda_dead: list[float] | None
    masked: int
    drift: list[tuple[int, float, float]] | None


class TransferResult(Record):
    schema_: Literal[1] = Field(alias="schema")
    cell: CellRecord
    metrics: TransferMetrics
    history: list[Epoch]
    timing: Timing
    environment: Environment


class TransferMeasureRow(Record):
    """Seconds per mini-batch, loading and evaluation left out."""

    method: str
    seconds: list[float]
    bytes: int


class TransferMeasurement(Record):
    schema_: Literal[1] = Field(alias="schema")
    kind: Literal["measure"]
    cell: dict[str, Any]
    unit: MeasureUnit
    iterations_per_epoch: int
    rows: list[TransferMeasureRow]
    environment: Environment
