"""What the records of all families share: cell, timing and environment."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

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
    chosen: dict[str, Any] | None = (
        None  # a choice of `multistep.plan.choose` that is in `settings`
    )


class Timing(Record):
    """Seconds of training alone, in all and at each history entry, of loading and evaluation beside
    it (unknown of few-shot cells that are older); `peak_bytes` as `environment` says.
    """

    train_seconds: float
    process_seconds: float
    seconds_per_iteration: float
    history_seconds: list[float]
    peak_bytes: int
    loading_seconds: float | None = None
    evaluation_seconds: float | None = None


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


class MeasureUnit(Record):
    time: Literal["process seconds", "CUDA-event seconds"]
    memory: Literal[
        "bytes saved for backward per task", "bytes saved for backward", "peak allocated bytes"
    ]
