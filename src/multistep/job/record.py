"""What the records of all families share, and how facts that follow from others are checked.

A record is sealed (`multistep.seal`), so an edit of any field is seen. What follows from other
fields is computed once more on every read as well: a record that contradicts itself is refused,
whoever wrote it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from multistep import kinds, seal, stats

# What a record says of itself: (which fact, as it is told, as it follows from the rest).
Facts = Iterable[tuple[str, Any, Any]]

SCHEMA = seal.SCHEMA
# The rows of an evaluation: of the last the episodes are the differences of the first two.
TRAINED = "trained"
FLOORS = ("untrained", "untrained, head alone", "nearest pixels", "meta-training adds")
UNTRAINED, HEAD, NEAREST, ADDS = FLOORS
# Settings of an evaluation, and those of a cell that they are unless others are asked for.
TESTED_WITH = {
    "episodes": "test_episodes", "steps": "test_steps", "window": "window", "rate": "inner_lr",
}  # fmt: skip

Percent = Annotated[float, Field(ge=0, le=100)]
Gain = Annotated[float, Field(ge=-100, le=100)]  # of one accuracy over another
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Scored(Record):
    """A value that was tried; its accuracy is null where a seed of it diverged."""

    value: float
    validation_accuracy: Percent | None
    seeds: int = Field(ge=1)


class Chosen(Record):
    """The value of a setting with the best validation accuracy, as a cell keeps it."""

    setting: str
    value: float
    rule: str
    candidates: list[Scored]

    @model_validator(mode="after")
    def _best(self) -> Self:
        scored = [c for c in self.candidates if c.validation_accuracy is not None]
        values = [c.value for c in self.candidates]
        if values != sorted(set(values)):
            raise ValueError("its candidates are not in order")
        best = max(scored, key=lambda c: c.validation_accuracy or 0.0, default=None)
        if best is None or best.value != self.value:
            raise ValueError(f"{self.value} isn't the best of its candidates")
        return self


class Choice(Chosen):
    """What `multistep choose` writes. `cell`: the candidates' own, without the setting and seed, in
    the experiment that waits; `made_from`: their seals.
    """

    schema_: Literal[2] = Field(alias="schema")
    cell: Annotated[dict[str, Any], Field(min_length=1)]
    seeds: list[Count]
    made_from: dict[Literal["candidates"], list[Digest]]
    seal: Digest

    @model_validator(mode="after")
    def _complete(self) -> Self:
        counts = {len(self.seeds)} | {c.seeds for c in self.candidates}
        seals = len(self.made_from.get("candidates", []))
        if len(counts) > 1 or seals != len(self.seeds) * len(self.candidates):
            raise ValueError("it isn't of each candidate and seed")
        return self


class CellRecord(Record):
    """`kind`: a candidate only helps to choose a setting; `chosen`: what a choice put in."""

    kind: Literal["cell", "candidate"] = "cell"
    scale: str
    family: str
    experiment: str
    dataset: str
    method: str
    algorithm: str
    seed: Count
    data: dict[str, Any]
    settings: dict[str, Any]
    chosen: Chosen | None = None


class Timing(Record):
    """Seconds of training alone, in all and at each history entry (older results: by one clock), of
    loading and evaluation beside it; `peak_bytes` as `environment` says.
    """

    train_seconds: Positive
    process_seconds: Positive
    seconds_per_iteration: Positive
    history_seconds: list[Positive]
    history_process_seconds: list[Positive] | None = None
    peak_bytes: Count
    loading_seconds: Positive
    evaluation_seconds: Positive


class Environment(Record):
    """The machine."""

    python: str
    torch: str
    numpy: str
    cuda: str | None
    device: str
    cpu: str
    threads: int = Field(ge=1)
    tf32: bool
    platform: str
    commit: str | None
    dirty: bool | None


class MadeFrom(Record):
    """Digests of the inputs, of the code, and of the choice that a cell waited for."""

    dataset: Digest | None
    network: Digest | None
    choice: Digest | None = None
    code: Digest


class Sealed(Record):
    """The frame of every record; `facts` are computed again."""

    schema_: Literal[2] = Field(alias="schema")
    environment: Environment
    made_from: MadeFrom
    seal: Digest

    @model_validator(mode="after")
    def _facts(self) -> Self:
        for what, found, right in self.facts():
            if not same(found, right):
                raise ValueError(
                    f"{what} is {short(found)}, but its own numbers say {short(right)}"
                )
        return self

    def facts(self) -> Facts:
        """(its name, as stated, as it follows from others) of each fact that follows."""
        return []


class Parameters(Record):
    """The file beside the result that has its parameters, and the digest of their values."""

    file: str = Field(pattern=r"^[^/]+\.safetensors$")
    digest: Digest


class ResultRecord(Sealed):
    """Of a cell; families add `metrics` and `history`."""

    cell: CellRecord
    history: list[Any]
    timing: Timing
    parameters: Parameters

    def facts(self) -> Facts:
        """Of a choice, and of the clocks; the families have more."""
        waited = self.cell.chosen is not None
        yield "made_from.choice", self.made_from.choice is not None, waited
        timing, entries = self.timing, len(self.history)
        for clock, total in (("", "train_seconds"), ("process_", "process_seconds")):
            name, whole = f"timing.history_{clock}seconds", getattr(timing, total)
            seconds = getattr(timing, f"history_{clock}seconds")
            if seconds is not None:
                yield name, len(seconds), entries
                yield name, seconds, sorted(seconds)
                yield f"timing.{total}", max([whole, *seconds[-1:]]), whole


class Tested(Record):
    """Of an evaluation, in percent: over `episodes` with the half-width of the 95% interval, or
    over a number of `images` with its ends.
    """

    mean: Gain
    ci95: Positive | None = None
    episodes: list[Gain] | None = None
    non_finite_episodes: Count | None = None
    low: Percent | None = None
    high: Percent | None = None
    images: int | None = Field(default=None, ge=1, le=2**53)


class Evaluation(Sealed):
    """A test of trained parameters (their digest): what was tested → on what → the numbers.

    `dataset`: the name of the images, with their digest in `made_from`; `settings`: episodes, inner
    steps, window and rate, none of meta-transfer.
    """

    kind: Literal["evaluation"]
    cell: CellRecord
    parameters: Digest
    dataset: str
    settings: dict[str, float]
    rows: dict[str, Annotated[dict[str, Tested], Field(min_length=1)]]

    def facts(self) -> Facts:
        """Means and intervals are those of the episodes or of the images."""
        for what, of in self.rows.items():
            for on, row in of.items():
                name = f"rows.{what}.{on}"
                if row.episodes is not None:
                    yield f"{name}.episodes", len(row.episodes), self.settings["episodes"]
                    mean = stats.over_episodes(row.episodes)
                    yield name, [row.mean, row.ci95], [mean.mean, mean.half_width]
                else:
                    assert row.images is not None
                    correct = round(row.mean * row.images / 100)
                    right = [100 * correct / row.images, *stats.wilson(correct, row.images)]
                    yield name, [row.mean, row.low, row.high], right
                if what == ADDS:
                    pair = (self.rows[w][on].episodes or [] for w in (TRAINED, UNTRAINED))
                    yield name, row.episodes, [a - b for a, b in zip(*pair, strict=True)]
        yield "rows", list(self.rows), [TRAINED, *(FLOORS if len(self.rows) > 1 else ())]
        yield "rows: their columns", len({tuple(of) for of in self.rows.values()}), 1
        if self.cell.family == "few_shot":
            yield "made_from.network", self.made_from.network, None


class MeasureUnit(Record):
    time: Literal["process seconds", "CUDA-event seconds"]
    memory: Literal[
        "bytes saved for backward per task", "bytes saved for backward", "peak allocated bytes"
    ]


class MeasurementRecord(Sealed):
    """Of an experiment's methods on one dataset; families add `rows`."""

    kind: Literal["measure"]
    cell: dict[str, Any]
    unit: MeasureUnit

    def facts(self) -> Facts:
        """No choice, a source network where a method has one, and the units of the device."""
        yield "made_from.choice", self.made_from.choice, None
        sources = [m["settings"].get("source") for m in self.cell["methods"].values()]
        yield "made_from.network", self.made_from.network is not None, any(sources)
        cuda = self.environment.cuda is not None
        yield "unit.time", self.unit.time == "CUDA-event seconds", cuda
        yield "unit.memory", self.unit.memory == "peak allocated bytes", cuda


def name_of(cell: Mapping[str, Any]) -> str:
    """What names a cell, or a measurement, and where its record lies among others."""
    return "/".join(str(cell[key]) for key in kinds.NAMES if key in cell)


def same(found: Any, right: Any) -> bool:
    """Equal, numbers to rounding: versions of NumPy may add in another order."""
    if isinstance(found, float) and isinstance(right, float | int):
        return math.isclose(found, right, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(found, list | tuple) and isinstance(right, list | tuple):
        return len(found) == len(right) and all(map(same, found, right))
    return bool(found == right)


def short(value: Any) -> str:
    """A value as a message can show it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def on_grid(percentages: Sequence[float], of: int) -> list[float]:
    """The nearest accuracies that are some number of `of` images; equal to `percentages` to the
    precision of float32, in which they were divided.
    """
    nearest = (100 * round(p * of / 100) / of for p in percentages)
    return [p if abs(p - n) < 1e-4 else n for p, n in zip(percentages, nearest, strict=True)]


def increasing(values: Sequence[float]) -> bool:
    """Whether each is larger than the one before."""
    return all(a < b for a, b in itertools.pairwise(values))
