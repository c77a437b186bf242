"""Tables of transfer accuracies (Tables 2 and 3): a column per target, a row per method."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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
    citation_mark,
    line,
    printed,
    signed,
)
from multistep.pages.query import Result, TidyRow, group_results, otherwise
from multistep.pages.spec import (
    Column,
    Dataset,
    Experiment,
    Literature,
    Method,
    Number,
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
    quoted = [
        _quoted(spec, name, literature, column)
        for name, literature in spec.literature.items()
        for column in spec.columns
    ]
    ours = [
        _ours(spec, context, method, column, experiment, groups.get((experiment, column, method)))
        for method, row in spec.rows.items()
        for column in spec.columns
        for experiment in [row.get(column, "")]
    ]
    return quoted + ours


def page(spec: Spec, context: Context, rows: Sequence[Row]) -> Page:
    """The paper's layout: sources under the targets, quoted rows, then ours beside the paper's."""
    lines: dict[str, list[Row]] = {}
    for row in rows:
        lines.setdefault(row.row, []).append(row)
    run = [row for row in rows if row.ours is not None]
    columns = [c for c in spec.columns if not run or any(row.column == c for row in run)]
    networks = [row.source for row in run if row.source] or [
        context.source(spec.sources[column]) for column in columns
    ]
    printed_best = {} if spec.beyond else _best_printed(spec, rows)
    quoted = [cells for cells in lines.values() if cells[0].section == "literature"]
    ours = [cells for cells in lines.values() if cells[0].section == "ours"]
    ours_best = {
        column: best([row.ours for row in rows if row.column == column and row.section == "ours"])
        for column in spec.columns
    }
    sections = []
    if quoted:
        groups = [(_bold(line(c[0].row_title, c, _printed), c, printed_best),) for c in quoted]
        sections.append(Section("Quoted by the paper from earlier work", tuple(groups)))
    blocks = []
    for i, cells in enumerate(ours):
        bold = tuple(ours_best[c.column][i] and _marks_best(spec) for c in cells)
        value = dataclasses.replace(line(cells[0].row_title, cells, _value), bold=bold)
        blocks.append((value, *_details(cells, printed_best)))
    printed = spec.paper is not None or spec.literature
    heading = "Ours, and below it the paper's" if printed else "Ours"
    sections.append(Section(heading, tuple(blocks)))
    return Page(
        title=spec.title,
        caption=spec.caption.format(data=context.titles(columns)),
        provenance=context.provenance(*map(context.dataset, columns), sources=networks),
        training=_training(spec, rows),
        headings=tuple(spec.columns.values()),
        subheadings=_subheadings(spec, context, rows),
        sections=tuple(sections),
        notes=(*_legend(spec, rows, printed_best), *otherwise(rows), *spec.notes),
        references=tuple(spec.references.values()),
    )


def _quoted(spec: Spec, name: str, literature: Quoted, column: str) -> Row:
    value, spread = literature.values.get(column, (None, None))
    title = f"{literature.title} {citation_mark(spec.references[literature.source])}".strip()
    return Row(
        name,
        column,
        paper=value,
        paper_spread=spread,
        quoted="yes",
        section="literature",
        row_title=title,
        column_title=spec.columns[column],
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
    value, quoted = values.get(column), ""
    for literature in spec.literature.values():
        if value is None and literature.method == method:
            value = literature.values.get(column)
            quoted = "yes" if value else ""
    row = Row(
        method,
        column,
        paper=value[0] if value else None,
        paper_spread=value[1] if value else None,
        quoted=quoted,
        experiment=experiment,
        row_title=context.methods.get(method, method),
        column_title=spec.columns[column],
        scale=context.scale,
        data=context.dataset_title(context.dataset(column)),
    )
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


def _best_printed(spec: Spec, rows: Sequence[Row]) -> dict[str, float]:
    """The largest number that the paper prints in each column, where it compares several."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.paper is not None and (row.section == "literature" or not row.quoted):
            found.setdefault(row.column, []).append(row.paper)
    return {column: max(values) for column, values in found.items() if len(values) > 1}


def _bold(text: Line, cells: Sequence[Row], largest: dict[str, float]) -> Line:
    bold = tuple(c.paper is not None and c.paper == largest.get(c.column) for c in cells)
    return dataclasses.replace(text, bold=bold)


def _details(cells: list[Row], largest: dict[str, float]) -> list[Line]:
    lines = [line("seeds", cells, lambda cell: f"n = {cell.n}", "detail")]
    if any(cell.paper is not None for cell in cells):
        label = "quoted" if any(cell.quoted for cell in cells) else "paper"
        lines.append(_bold(line(label, cells, _printed, "detail"), cells, largest))
    if any(cell.gap is not None for cell in cells):
        lines.append(line("gap", cells, _gap, "detail"))
    return lines


def _value(cell: Row) -> str:
    if cell.ours is None:
        return DASH
    return f"{cell.ours:.2f}" + ("" if cell.seed_sd is None else f" ± {cell.seed_sd:.2f}")


def _printed(cell: Row) -> str:
    return DASH if cell.paper is None else printed(cell.paper, cell.paper_spread, fewest=2)


def _gap(cell: Row) -> str:
    return DASH if cell.gap is None else signed(cell.gap, 2)


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
    columns: dict[str, list[str]] = {}
    for column, heading in spec.columns.items():
        epochs = sorted({r.epochs for r in rows if r.column == column and r.epochs is not None})
        text = _epochs(epochs) if epochs else ""
        if epochs and spec.paper is not None:
            if epochs != [spec.paper.epochs]:
                text += f" (the paper: {spec.paper.epochs})"
            elif not any(row.otherwise for row in rows if row.column == column):
                text += " (as the paper)"
        columns.setdefault(text or "not run", []).append(heading)
    return "Training. " + "; ".join(f"{', '.join(c)}: {run}" for run, c in columns.items()) + "."


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
