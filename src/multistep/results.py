"""Results: one JSON per cell and per measurement, checked on write and on read.

`cell`, `metrics` and `history` are the same for identical runs; what varies between them (time,
memory, machine) stands in `timing` and `environment`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from multistep import stats
from multistep.files import UserError, read_json, write_json

SCHEMA = 1


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class CellRecord(Record):
    scale: str
    family: str
    experiment: str
    dataset: str
    method: str
    algorithm: str
    seed: int
    data: dict[str, Any]
    settings: dict[str, Any]
    chosen: dict[str, Any] | None = None  # a choice of `multistep.choose` that is in `settings`


class Accuracy(Record):
    """Mean over episodes and half-width of its 95% interval, in percent."""

    test_accuracy: float = Field(ge=0, le=100)
    test_ci95: float = Field(ge=0, le=100)


class Validated(Record):
    """The iterate with the highest accuracy on validation episodes, in percent."""

    iteration: int
    validation_accuracy: float = Field(ge=0, le=100)
    validation_ci95: float = Field(ge=0, le=100)


class Metrics(Accuracy):
    """`episode_accuracies` in percent, in the order of the test episodes.

    `exact_adaptation`: the same θ adapted with exact steps (window 1) instead of the windows it
    was trained with; for methods with windows only. `best`: the iterate that is tested where
    validation selects it; then `last` is the accuracy of the last iterate.
    """

    test_episodes: int
    episode_accuracies: list[float]
    iterations: int
    exact_adaptation: Accuracy | None = None
    best: Validated | None = None
    last: Accuracy | None = None

    @model_validator(mode="after")
    def _of_its_episodes(self) -> Self:
        n = len(self.episode_accuracies)
        for found in (self, self.exact_adaptation, self.last):
            if found is None:
                continue
            mean, half_width = found.test_accuracy, found.test_ci95
            if not n or not stats.is_feasible(mean, half_width, n):
                raise ValueError(f"no {n} episodes have an accuracy of {mean} ± {half_width}")
        return self


class CandidateMetrics(Record):
    """What a candidate is chosen by; `best` is null if it diverged before its first validation."""

    best: Validated | None
    diverged: str | None


class HistoryEntry(Record):
    """Means over the iterations since the entry before; validation where it was due."""

    iteration: int
    tasks: int
    train_loss: float
    train_accuracy: float
    meta_gradient_norm: float
    validation_accuracy: float | None = None
    validation_ci95: float | None = None


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


class Timing(Record):
    """Seconds of training alone, and at each history entry; `peak_bytes` as `environment` says."""

    train_seconds: float
    process_seconds: float
    seconds_per_iteration: float
    history_seconds: list[float]
    peak_bytes: int


class TransferTiming(Timing):
    """`train_seconds` leave out what these two took."""

    loading_seconds: float
    evaluation_seconds: float


class Environment(Record):
    python: str
    torch: str
    numpy: str
    cuda: str | None
    device: str
    cpu: str
    threads: int
    tf32: bool
    platform: str
    commit: str | None
    dirty: bool | None
    dataset_digest: str
    network_digest: str | None = None


class Result(Record):
    schema_: Literal[1] = Field(alias="schema")
    cell: CellRecord
    metrics: Metrics
    history: list[HistoryEntry]
    timing: Timing
    environment: Environment


class Candidate(Result):
    metrics: CandidateMetrics  # type: ignore[assignment]


class TransferResult(Record):
    schema_: Literal[1] = Field(alias="schema")
    cell: CellRecord
    metrics: TransferMetrics
    history: list[Epoch]
    timing: TransferTiming
    environment: Environment


class MeasureUnit(Record):
    time: Literal["process seconds", "CUDA-event seconds"]
    memory: Literal[
        "bytes saved for backward per task", "bytes saved for backward", "peak allocated bytes"
    ]


class MeasureRow(Record):
    method: str
    steps: int
    seconds: list[float]
    bytes: int


class TransferMeasureRow(Record):
    """Seconds per mini-batch, loading and evaluation left out."""

    method: str
    seconds: list[float]
    bytes: int


class Measurement(Record):
    schema_: Literal[1] = Field(alias="schema")
    kind: Literal["measure"]
    cell: dict[str, Any]
    unit: MeasureUnit
    rows: list[MeasureRow]
    environment: Environment


class TransferMeasurement(Record):
    schema_: Literal[1] = Field(alias="schema")
    kind: Literal["measure"]
    cell: dict[str, Any]
    unit: MeasureUnit
    iterations_per_epoch: int
    rows: list[TransferMeasureRow]
    environment: Environment


RESULTS: dict[str, type[Record]] = {"few_shot": Result, "transfer": TransferResult}
MEASUREMENTS: dict[str, type[Record]] = {"few_shot": Measurement, "transfer": TransferMeasurement}


def write(path: Path, record: dict[str, Any]) -> None:
    """Validate and write a result or a measurement, whole or not at all."""
    _validate(path, record)
    write_json(path, record)


def read(path: Path) -> dict[str, Any]:
    """Read and validate a result or a measurement."""
    record = read_json(path)
    _validate(path, record)
    return record


def _validate(path: Path, record: Any) -> None:
    model = _model(record)
    try:
        model.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(
            f"{path}: not a {model.__name__.lower()} of schema {SCHEMA}: {where}: {first['msg']}; "
            "delete it and build it again"
        ) from None


def _model(record: Any) -> type[Record]:
    """What a record should be by what it says itself; a result if it says nothing."""
    if not isinstance(record, dict):
        return Result
    cell, metrics = record.get("cell"), record.get("metrics")
    family = cell.get("family", "few_shot") if isinstance(cell, dict) else "few_shot"
    models = MEASUREMENTS if record.get("kind") == "measure" else RESULTS
    model = models.get(str(family), Result)
    candidate = model is Result and isinstance(metrics, dict) and "diverged" in metrics
    return Candidate if candidate else model
