"""Tables of transfer accuracies (Tables 2 and 3): a column per target, a row per method."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from multistep import stats
from multistep.pages.context import Context
from multistep.pages.layout import (
    DASH,
    Line,
    Page,
    Section,
    best,
    by_row,
    grouped,
    line,
    printed,
    signed,
)
from multistep.pages.query import Result, TidyRow, group_results, otherwise, own, quoted
from multistep.pages.spec import (
    Column,
    Dataset,
    Experiment,
    Literature,
    Method,
    Number,
    Quotation,
    Ref,
    Reference,
    SourceNetwork,
    Wants,
)
from multistep.pages.spec import Spec as AnySpec
from multistep.settings import Model

Shown = Annotated[str, Ref("row", "rows")]


class Quoted(Literature):
    """The same; the numbers stand beside those of our `method` too, if one is named."""

    method: Shown | None = None


class TransferPaper(Model):
    source: Reference
    epochs: int
    values: dict[Shown, dict[Column, Number]]  # method: dataset: [mean, sd over seeds]


class Spec(AnySpec):
    """Mean and sample standard deviation over seeds of the test accuracy, by target dataset.

    Of the epoch with the best validation accuracy. Numbers that the paper quotes come first.
    """

    columns: dict[Annotated[Dataset, Ref("entry of sources", "sources")], str]  # dataset: heading
    sources: dict[Column, SourceNetwork]  # what the paper transfers from
    rows: dict[Method, dict[Column, Experiment]]  # which has the cells
    literature: dict[str, Quoted] = {}
    paper: TransferPaper | None = None
    references: dict[str, str] = {}

    def quotations(self) -> Iterator[Quotation]:
        quoted = [(q.method or row, q.source, q.values) for row, q in self.literature.items()]
        if (paper := self.paper) is not None:
            quoted += [(method, paper.source, values) for method, values in paper.values.items()]
        for row, source, values in quoted:
            for column, (mean, spread) in values.items():
                experiment = self.rows.get(row, {}).get(column)
                yield Quotation(source, "test_accuracy", mean, spread, experiment, column, row)

    def wants(self) -> Wants:
        return Wants(
            [(e, dataset, m) for m, row in self.rows.items() for dataset, e in row.items()]
        )


@dataclass(frozen=True)
class Row(TidyRow):
    """A cell of the table: a method, or a row that the paper quotes, on a target dataset.

    Accuracies in percent. `ours` is the mean over seeds of the test accuracy at the epoch with the
    best validation accuracy, `ours_low` and `ours_high` lie one standard deviation from it.
    """

    seed_sd: float | None = None  # sample standard deviation over seeds
    seed_t95: float | None = None  # half-width of the Student t interval over seeds
    validation: float | None = None  # mean over seeds of the best validation accuracy
    epochs: int | None = None
    quoted: str = ""  # "yes" where `paper` is a number that the paper took from elsewhere
    note: str = ""
    experiment: str = ""
    source: str = ""  # the source network that was used


def rows(spec: Spec, context: Context, records: Sequence[Result]) -> list[Row]:
    """All cells of a table: what the paper quotes, then one per method and target."""
    groups = group_results(spec, context, records)
    ours = [
        _ours(spec, context, method, column, experiment, groups.get((experiment, column, method)))
        for method, row in spec.rows.items()
        for column in spec.columns
        for experiment in [row.get(column, "")]
    ]
    return [dataclasses.replace(row, quoted="yes") for row in quoted(Row, spec)] + ours


def page(spec: Spec, context: Context, rows: Sequence[Row]) -> Page:
    """The paper's layout: sources under the targets, quoted rows, then ours beside the paper's."""
    run = [row for row in rows if row.ours is not None]
    columns = [c for c in spec.columns if not run or any(row.column == c for row in run)]
    networks = [row.source for row in run if row.source] or [
        context.source(spec.sources[column]) for column in columns
    ]
    largest: dict[str, float] = {}  # that the paper prints in a column, where it compares several
    for column in () if spec.beyond else spec.columns:
        numbers = [
            row.paper
            for row in rows
            if row.column == column and (row.section == "literature" or not row.quoted)
        ]
        if len(compared := [number for number in numbers if number is not None]) > 1:
            largest[column] = max(compared)

    def theirs(label: str, cells: list[Row], role: str = "value") -> Line:
        text = line(label, cells, lambda c: printed(c.paper, c.paper_spread, fewest=2), role)
        bold = tuple(c.paper is not None and c.paper == largest.get(c.column) for c in cells)
        return dataclasses.replace(text, bold=bold)

    sections = []
    if literature := by_row(rows, "literature"):
        groups = tuple((theirs(cells[0].row_title, cells),) for cells in literature)
        sections.append(Section("Quoted by the paper from earlier work", groups))
    ours = by_row(rows, "ours")
    ours_best = [best([cell.ours for cell in cells]) for cells in zip(*ours, strict=True)]
    blocks = []
    for i, cells in enumerate(ours):
        bold = tuple(marks[i] and _marks_best(spec) for marks in ours_best)
        lines = [dataclasses.replace(line(cells[0].row_title, cells, _value), bold=bold)]
        lines.append(line("seeds", cells, lambda cell: f"n = {cell.n}", "detail"))
        if any(cell.paper is not None for cell in cells):
            label = "quoted" if any(cell.quoted for cell in cells) else "paper"
            lines.append(theirs(label, cells, "detail"))
        if any(cell.gap is not None for cell in cells):
            lines.append(line("gap", cells, lambda cell: signed(cell.gap, 2), "detail"))
        blocks.append(tuple(lines))
    heading = "Ours, and below it the paper's" if spec.paper or spec.literature else "Ours"
    sections.append(Section(heading, tuple(blocks)))
    return Page.of(
        spec,
        context,
        columns,
        networks,
        training=_training(spec, rows),
        headings=tuple(spec.columns.values()),
        subheadings=_subheadings(spec, context, rows),
        sections=tuple(sections),
        notes=(*_legend(spec, rows, largest), *otherwise(rows)),
    )


def _ours(
    spec: Spec,
    context: Context,
    method: str,
    column: str,
    experiment: str,
    results: list[Result] | None,
) -> Row:
    """Our cell: mean and spread over seeds, and beside it the number that the paper has."""
    values = spec.paper.values.get(method, {}) if spec.paper else {}
    value, taken = values.get(column), ""
    for literature in spec.literature.values():
        if value is None and literature.method == method:
            value = literature.values.get(column)
            taken = "yes" if value else ""
    row: Row = own(Row, spec, context, method, column, column)
    row = dataclasses.replace(row, quoted=taken, experiment=experiment)
    if value:
        row = dataclasses.replace(row, paper=value[0], paper_spread=value[1])
    if not results:
        return row
    accuracies = [float(result["metrics"]["test_accuracy"]) for result in results]
    mean, sd = stats.over_seeds(accuracies)
    cell = results[0]["cell"]
    row = dataclasses.replace(
        row,
        ours=mean,
        ours_low=None if sd is None else mean - sd,
        ours_high=None if sd is None else mean + sd,
        n=len(results),
        seed_sd=sd,
        seed_t95=stats.t_interval(accuracies).half_width if len(accuracies) > 1 else None,
        validation=stats.over_seeds([r["metrics"]["validation_accuracy"] for r in results])[0],
        epochs=int(results[0]["metrics"]["epochs"]),
        source="" if cell["algorithm"] == "scratch" else cell["settings"]["source"],
    )
    if row.paper is None:
        return row
    if context.is_stand_in(cell["dataset"]) or context.is_stand_in(row.source):
        return dataclasses.replace(row, note="Not compared: stand-in data.")
    differs = context.differs(experiment, column, method)
    if not differs and spec.paper and row.epochs != spec.paper.epochs:
        differs = f"{_epochs([row.epochs or 0])} (the paper's: {spec.paper.epochs})"
    if differs:
        return dataclasses.replace(row, otherwise=differs)
    return dataclasses.replace(row, gap=mean - row.paper)


def _marks_best(spec: Spec) -> bool:
    """Whether the best of ours is bold; not beyond the paper, where seeds are too few to rank."""
    return len(spec.rows) > 1 and not spec.beyond


def _value(cell: Row) -> str:
    if cell.ours is None:
        return DASH
    return f"{cell.ours:.2f}" + ("" if cell.seed_sd is None else f" ± {cell.seed_sd:.2f}")


def _subheadings(spec: Spec, context: Context, rows: Sequence[Row]) -> tuple[Line, ...]:
    """The paper's source networks; what ours are where a scale has something else."""
    theirs = [context.source_title(spec.sources[column]) for column in spec.columns]
    lines = [Line("Source", tuple(theirs), "detail")]
    ours = []
    for column in spec.columns:
        used = {row.source for row in rows if row.column == column and row.source}
        networks = sorted(used) or [context.source(spec.sources[column])]
        ours.append(", ".join(context.source_title(network) for network in networks))
    if ours != theirs:
        lines.append(Line("Our source", tuple(ours), "detail"))
    data = [context.dataset(column) for column in spec.columns]
    if data != list(spec.columns):
        titles = tuple(
            context.dataset_title(name) if context.is_stand_in(name) else heading
            for name, heading in zip(data, spec.columns.values(), strict=True)
        )
        lines.append(Line("Our data", titles, "detail"))
    return tuple(lines)


def _training(spec: Spec, rows: Sequence[Row]) -> str:
    """How long each column was trained, against the paper's epochs."""
    texts = []
    for column, heading in spec.columns.items():
        epochs = sorted({r.epochs for r in rows if r.column == column and r.epochs is not None})
        text = _epochs(epochs) if epochs else ""
        if epochs and spec.paper is not None:
            if epochs != [spec.paper.epochs]:
                text += f" (the paper: {spec.paper.epochs})"
            elif not any(row.otherwise for row in rows if row.column == column):
                text += " (as the paper)"
        texts.append((heading, text or "not run"))
    return grouped("Training", texts)


def _epochs(numbers: Sequence[int]) -> str:
    return " or ".join(f"{n:,}" for n in numbers) + (" epoch" if numbers == [1] else " epochs")


def _legend(spec: Spec, rows: Sequence[Row], largest: dict[str, float]) -> list[str]:
    """How to read the lines; what is bold and what a gap is only where there are any."""
    ours = (
        "Test accuracy at the epoch with the best validation accuracy: mean over n seeds ± their "
        "sample standard deviation."
    )
    if _marks_best(spec):
        ours += " Bold: the best of ours"
        ours += ", and the best that the paper prints." if largest else "."
    if spec.paper is None and not spec.literature:
        return [ours]
    theirs = (
        "Paper, quoted: as printed, ± standard deviation over three models; a quoted number is not "
        "the paper's own."
    )
    if any(row.gap is not None for row in rows):
        theirs += " Gap: ours − printed, in points, unless ours is on stand-in data."
    return [ours, theirs]
