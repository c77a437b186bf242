"""The kinds of tables: what each says in params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from multistep.pages.kinds.common import Entry, Names, Number, Wants
from multistep.settings import Model


class References(Entry):
    """A page with a list of references; `source` of a printed number is one of its names."""

    references: dict[str, str] = {}

    def source(self, key: str, name: str) -> Names:
        return Names(f"{key}.source", [name], "reference", self.references)


class Literature(Model):
    """A row of numbers that the paper quotes."""

    title: str
    source: str
    values: dict[str, Number]


class FewShotTable(References):
    """What the few-shot tables share: a column per experiment, a row per method."""

    dataset: str
    columns: dict[str, str]  # experiment: heading
    methods: list[str] = Field(min_length=1)

    def wants(self) -> Wants:
        return Wants([(c, self.dataset, m) for c in self.columns for m in self.methods])

    def names(self) -> list[Names]:
        return [
            Names("dataset", [self.dataset], "dataset"),
            Names("methods", self.methods, "method"),
            Names("columns", self.columns, "experiment"),
        ]


class AccuracyPaper(Model):
    """The paper's own rows; its meta-batch and inner learning rate are what ours are set beside.

    `interval_n`: what n is in its half-widths 1.96 s/√n: its test episodes, or those divided by the
    meta-batch, which makes them √(meta-batch) times too wide for the mean over all episodes.
    """

    source: str
    iterations: int
    episodes: int
    meta_batch: dict[str, int]
    interval_n: Literal["episodes", "episodes/meta_batch"] = "episodes"
    float16_means: bool
    inner_lr: dict[str, dict[str, float]] = {}  # method: column: what it chose by validation
    values: dict[str, dict[str, Number]]


class AccuracyTable(FewShotTable):
    """Few-shot accuracies beside the paper's."""

    kind: Literal["accuracy"]
    literature: dict[str, Literature] = {}
    paper: AccuracyPaper | None = None
    cell_notes: dict[str, dict[str, str]] = {}

    def names(self) -> list[Names]:
        columns, methods = self.columns, self.methods
        found = super().names()
        for row, literature in self.literature.items():
            found.append(Names(f"literature.{row}.values", literature.values, "column", columns))
            found.append(self.source(f"literature.{row}", literature.source))
        if (paper := self.paper) is not None:
            found.append(self.source("paper", paper.source))
            found.append(Names("paper.values", paper.values, "method", methods))
            found.append(Names("paper.meta_batch", paper.meta_batch, "column", columns))
            found.append(Names("columns", columns, "paper.meta_batch", paper.meta_batch))
            for method, values in paper.values.items():
                found.append(Names(f"paper.values.{method}", values, "column", columns))
            found.append(Names("paper.inner_lr", paper.inner_lr, "method", methods))
            for method, rates in paper.inner_lr.items():
                found.append(Names(f"paper.inner_lr.{method}", rates, "column", columns))
        found.append(Names("cell_notes", self.cell_notes, "method", methods))
        for method, notes in self.cell_notes.items():
            found.append(Names(f"cell_notes.{method}", notes, "column", columns))
        return found


class Printed(Model):
    """A row of accuracies that a paper or a library prints: [mean] or [mean, its ±]."""

    title: str
    source: str
    spread: str = ""  # what its ± is
    values: dict[str, Annotated[list[float], Field(min_length=1, max_length=2)]]


class BenchmarkTable(FewShotTable):
    """Few-shot methods side by side: accuracy, time and memory; ratios are to the first method."""

    kind: Literal["benchmark"]
    literature: dict[str, Printed] = {}

    def wants(self) -> Wants:
        measured = [(column, self.dataset) for column in self.columns]
        return super().wants()._replace(measured=measured)

    def names(self) -> list[Names]:
        found = super().names()
        for row, printed in self.literature.items():
            found.append(Names(f"literature.{row}.values", printed.values, "column", self.columns))
            found.append(self.source(f"literature.{row}", printed.source))
        return found


class Quoted(Literature):
    """The same; the numbers stand beside those of our `method` too, if one is named."""

    method: str | None = None


class TransferPaper(Model):
    source: str
    epochs: int
    values: dict[str, dict[str, Number]]  # method: dataset: [mean, sd over seeds]


class TransferTable(References):
    """Transfer accuracies: a column per target dataset, a row per method."""

    kind: Literal["transfer"]
    columns: dict[str, str]  # dataset: heading
    sources: dict[str, str]  # dataset: the source network that the paper transfers from
    rows: dict[str, dict[str, str]]  # method: dataset: the experiment that has its cells
    literature: dict[str, Quoted] = {}
    paper: TransferPaper | None = None

    def wants(self) -> Wants:
        return Wants(
            [(e, dataset, m) for m, row in self.rows.items() for dataset, e in row.items()]
        )

    def names(self) -> list[Names]:
        columns, rows = self.columns, self.rows
        found = [
            Names("columns", columns, "dataset"),
            Names("columns", columns, "entry of sources", self.sources),
            Names("sources", self.sources, "column", columns),
            Names("sources", self.sources.values(), "source network"),
            Names("rows", rows, "method"),
        ]
        for method, row in rows.items():
            found.append(Names(f"rows.{method}", row, "column", columns))
            found.append(Names(f"rows.{method}", row.values(), "experiment"))
        for name, literature in self.literature.items():
            found.append(Names(f"literature.{name}.values", literature.values, "column", columns))
            found.append(self.source(f"literature.{name}", literature.source))
            if literature.method is not None:
                key = f"literature.{name}.method"
                found.append(Names(key, [literature.method], "row", rows))
        if (paper := self.paper) is not None:
            found.append(self.source("paper", paper.source))
            found.append(Names("paper.values", paper.values, "row", rows))
            for method, values in paper.values.items():
                found.append(Names(f"paper.values.{method}", values, "column", columns))
        return found


class EpochTimePaper(Model):
    source: str
    device: str
    seconds: dict[str, Number]  # method: [seconds per epoch, sd over models]
    hours: dict[str, float]  # of `epochs` epochs, as printed
    ratio: dict[str, float]


class EpochTimeTable(References):
    """Seconds per epoch of each method of a measurement, relative to the first."""

    kind: Literal["epoch_time"]
    dataset: str
    experiment: str
    methods: list[str] = Field(min_length=1)
    epochs: int = Field(ge=1)  # whose hours are shown
    paper: EpochTimePaper | None = None

    def wants(self) -> Wants:
        return Wants(measured=[(self.experiment, self.dataset)])

    def names(self) -> list[Names]:
        found = [
            Names("dataset", [self.dataset], "dataset"),
            Names("experiment", [self.experiment], "experiment"),
            Names("methods", self.methods, "method"),
        ]
        if (paper := self.paper) is not None:
            found.append(self.source("paper", paper.source))
            for key in ("seconds", "hours", "ratio"):
                found.append(Names(f"paper.{key}", getattr(paper, key), "method", self.methods))
        return found


class SplitsPaper(Model):
    source: str
    values: dict[str, dict[Literal["train", "validation", "test", "total"], int]]


class SplitsTable(References):
    """Images of each part of the prepared datasets: a row per dataset."""

    kind: Literal["splits"]
    rows: dict[str, str]  # dataset: label
    paper: SplitsPaper | None = None

    def wants(self) -> Wants:
        return Wants(prepared=list(self.rows))

    def names(self) -> list[Names]:
        found = [Names("rows", self.rows, "dataset")]
        if self.paper is not None:
            found.append(self.source("paper", self.paper.source))
            found.append(Names("paper.values", self.paper.values, "row", self.rows))
        return found
