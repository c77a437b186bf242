"""The record of a few-shot cell and of its measurement, checked on write and on read."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from multistep import stats
from multistep.job.record import CellRecord, Environment, MeasureUnit, Record, Timing


def is_candidate(cell: dict[str, Any]) -> bool:
    """Whether a cell only helps to choose a setting (until schema 1 told by `test_episodes: 0`)."""
    return cell.get("kind") == "candidate" or cell["settings"].get("test_episodes") == 0


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


class Result(Record):
    schema_: Literal[1] = Field(alias="schema")
    cell: CellRecord
    metrics: Metrics
    history: list[HistoryEntry]
    timing: Timing
    environment: Environment


class Candidate(Result):
    metrics: CandidateMetrics  # type: ignore[assignment]


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
