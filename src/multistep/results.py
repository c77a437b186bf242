"""Results: one JSON per cell and per measurement, checked on write and on read.

`cell`, `metrics` and `history` are the same for identical runs; what varies between them (time,
memory, machine) stands in `timing` and `environment`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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


class Accuracy(Record):
    """Mean over episodes and half-width of its 95% interval, in percent."""

    test_accuracy: float = Field(ge=0, le=100)
    test_ci95: float = Field(ge=0, le=100)


class Metrics(Accuracy):
    """`episode_accuracies` in percent, in the order of the test episodes.

    `exact_adaptation`: the same θ adapted with exact steps (window 1) instead of the windows it
    was trained with; for methods with windows only.
    """

    test_episodes: int
    episode_accuracies: list[float]
    iterations: int
    exact_adaptation: Accuracy | None = None


class HistoryEntry(Record):
    """Means over the iterations since the entry before; validation where it was due."""

    iteration: int
    tasks: int
    train_loss: float
    train_accuracy: float
    meta_gradient_norm: float
    validation_accuracy: float | None = None
    validation_ci95: float | None = None


class Timing(Record):
    """Seconds of training alone, and at each history entry; `peak_bytes` as `environment` says."""

    train_seconds: float
    process_seconds: float
    seconds_per_iteration: float
    history_seconds: list[float]
    peak_bytes: int


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


class Result(Record):
    schema_: Literal[1] = Field(alias="schema")
    cell: CellRecord
    metrics: Metrics
    history: list[HistoryEntry]
    timing: Timing
    environment: Environment


class MeasureUnit(Record):
    time: Literal["process seconds", "CUDA-event seconds"]
    memory: Literal["bytes saved for backward per task", "peak allocated bytes"]


class MeasureRow(Record):
    method: str
    steps: int
    seconds: list[float]
    bytes: int


class Measurement(Record):
    schema_: Literal[1] = Field(alias="schema")
    kind: Literal["measure"]
    cell: dict[str, Any]
    unit: MeasureUnit
    rows: list[MeasureRow]
    environment: Environment


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
    kind = record.get("kind") if isinstance(record, dict) else None
    model = Measurement if kind == "measure" else Result
    try:
        model.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(
            f"{path}: not a {model.__name__.lower()} of schema {SCHEMA}: {where}: {first['msg']}; "
            "delete it and build it again"
        ) from None
