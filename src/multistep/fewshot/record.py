"""The record of a few-shot cell and of its measurement, checked on write and on read."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from multistep import stats
from multistep.job.record import (
    Count,
    Facts,
    MeasurementRecord,
    Percent,
    Positive,
    Record,
    ResultRecord,
    on_grid,
)


class Accuracy(Record):
    """Mean over episodes and half-width of its 95% interval, in percent."""

    test_accuracy: Percent
    test_ci95: Percent


class Validated(Record):
    """The iterate with the highest accuracy on validation episodes, in percent."""

    iteration: int = Field(ge=1)
    validation_accuracy: Percent
    validation_ci95: Percent


class Metrics(Accuracy):
    """`episode_accuracies` in percent, in the order of the test episodes.

    `exact_adaptation`: the same θ adapted with exact steps (window 1) instead of the windows it
    was trained with; for methods with windows only. `best`: the iterate that is tested where
    validation selects it; then `last` is the accuracy of the last iterate. `non_finite_episodes`:
    those after whose adaptation a logit of a query isn't a finite number.
    """

    test_episodes: int
    episode_accuracies: list[Percent]
    non_finite_episodes: Count = 0
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

    iteration: int = Field(ge=1)
    tasks: int
    train_loss: float
    train_accuracy: Percent
    meta_gradient_norm: Positive
    validation_accuracy: Percent | None = None
    validation_ci95: Percent | None = None


class Trained(ResultRecord):
    """What cells and candidates share: the history, and the best iterate in it."""

    history: list[HistoryEntry]

    def facts(self) -> Facts:
        """The history is complete and in order."""
        s, history = self.cell.settings, self.history
        yield from super().facts()
        yield "made_from.network", self.made_from.network, None
        count, every = s["iterations"], s["log_every"]
        entries = len(history) if self.stopped() else -(-count // every)
        yield "history: entries", len(history), entries
        found = [entry.iteration for entry in history]
        yield "history: iteration", found, [min(count, every * (i + 1)) for i in range(entries)]
        yield "history: tasks", [e.tasks for e in history], [s["meta_batch"] * i for i in found]
        validated = [
            s["hold_out_validation"] and (i % s["validate_every"] == 0 or i == count) for i in found
        ]
        for key in ("validation_accuracy", "validation_ci95"):
            yield f"history: {key}", [getattr(e, key) is not None for e in history], validated
        if not self.stopped():
            per_iteration = self.timing.train_seconds / count
            yield "timing.seconds_per_iteration", self.timing.seconds_per_iteration, per_iteration

    def stopped(self) -> str | None:
        """Why it ended before its last iteration, if it did."""
        return None

    def best_of_history(self) -> Validated | None:
        """The first entry with the highest validation accuracy."""
        validated = [e for e in self.history if e.validation_accuracy is not None]
        if not validated:
            return None
        best = max(validated, key=lambda entry: entry.validation_accuracy or 0.0)
        return Validated.model_validate({k: getattr(best, k) for k in Validated.model_fields})


class Result(Trained):
    metrics: Metrics

    def facts(self) -> Facts:
        """Mean and interval are those of the episodes, the episodes those of the settings."""
        yield from super().facts()
        s, m = self.cell.settings, self.metrics
        episodes = m.episode_accuracies
        yield "metrics.test_episodes", m.test_episodes, s["test_episodes"]
        yield "metrics.episode_accuracies", len(episodes), m.test_episodes
        yield "metrics.non_finite_episodes", m.non_finite_episodes <= m.test_episodes, True
        yield "metrics.episode_accuracies", episodes, on_grid(episodes, s["ways"] * s["queries"])
        mean = stats.over_episodes(episodes)
        yield "metrics.test_accuracy", m.test_accuracy, mean.mean
        yield "metrics.test_ci95", m.test_ci95, mean.half_width
        yield "metrics.iterations", m.iterations, s["iterations"]
        yield "metrics.exact_adaptation", m.exact_adaptation is not None, s["window"] > 1
        best = self.best_of_history() if s["selection"] == "best" else None
        yield "metrics.best", m.best, best
        yield "metrics.last", m.last is not None, best is not None
        if best is not None and m.last is not None and best.iteration == s["iterations"]:
            yield "metrics.last.test_accuracy", m.last.test_accuracy, m.test_accuracy
            yield "metrics.last.test_ci95", m.last.test_ci95, m.test_ci95
        yield "cell.kind", self.cell.kind, "cell"


class Candidate(Trained):
    metrics: CandidateMetrics

    def stopped(self) -> str | None:
        return self.metrics.diverged

    def facts(self) -> Facts:
        """The best iterate is the history's."""
        yield from super().facts()
        yield "metrics.best", self.metrics.best, self.best_of_history()


class MeasureRow(Record):
    method: str
    steps: int = Field(ge=1)
    seconds: list[Positive]
    bytes: Count


def points(definition: Mapping[str, Any]) -> list[tuple[str, int]]:
    """(method, inner steps) that a measurement times: its steps and each method's own, as far as
    the method's window divides them.
    """
    return [
        (method, steps)
        for method, entry in definition["methods"].items()
        for steps in sorted({*definition["measure"]["steps"], entry["settings"]["inner_steps"]})
        if steps % entry["settings"]["window"] == 0
    ]


class Measurement(MeasurementRecord):
    rows: list[MeasureRow]

    def facts(self) -> Facts:
        """One row for each point, with all rounds."""
        yield from super().facts()
        yield "rows", [(row.method, row.steps) for row in self.rows], points(self.cell)
        rounds = [self.cell["measure"]["rounds"]] * len(self.rows)
        yield "rows: seconds", [len(row.seconds) for row in self.rows], rounds
