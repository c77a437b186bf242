"""Tables of few-shot methods side by side: accuracy, time and memory as tidy rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from multistep.pages import measured
from multistep.pages.context import Context
from multistep.pages.layout import DASH, Line, Page, Section, by_row, grouped, line, printed, seeds
from multistep.pages.query import (
    TidyRow,
    group_measurements,
    group_results,
    over_seeds,
    own,
    quoted,
)
from multistep.pages.spec import Column, FewShotTable, Reference, Wants
from multistep.settings import Model

QUANTITIES = ("accuracy", "time", "memory")


class Printed(Model):
    """A row of accuracies that a paper or a library prints: [mean] or [mean, its ±]."""

    title: str
    source: Reference
    spread: str = ""  # what its ± is
    values: dict[Column, Annotated[list[float], Field(min_length=1, max_length=2)]]


class Spec(FewShotTable):
    """Accuracy of every few-shot method that was run, with the time and memory of a meta-iteration.

    Ratios are to the first method; printed numbers of the literature come last.
    """

    literature: dict[str, Printed] = {}

    def wants(self) -> Wants:
        measured = [(column, self.dataset) for column in self.columns]
        return super().wants()._replace(measured=measured)


@dataclass(frozen=True)
class Row(TidyRow):
    """One number: a quantity of a method, or an accuracy of the literature, in a column.

    Accuracy in percent, `n` seeds and the 95% interval over test episodes; time in seconds of a
    meta-iteration, the median and quartiles of `n` rounds; memory in bytes. `ratio`: to the first
    method, if both were measured with equally many tasks.
    """

    quantity: str = "accuracy"
    ratio: float | None = None
    steps: int | None = None  # inner steps of the measurement
    trained_steps: int | None = None  # inner steps of training
    tasks: int | None = None  # in the measured meta-batch
    what: str = ""  # was measured, e.g. process seconds
    device: str = ""  # of the measurement
    seed_sd: float | None = None  # sample standard deviation over seeds
    seed_t95: float | None = None  # half-width of the Student t interval over seeds
    episodes: int | None = None  # test episodes of each seed
    iterations: int | None = None  # meta-iterations run
    meta_batch: int | None = None  # tasks in each
    spread: str = ""  # what `paper_spread` is


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> list[Row]:
    """Three rows per method and column, then the literature's; what is missing has n = 0."""
    results = group_results(spec, context, records)
    measurements = group_measurements(spec, context, records)
    found = []
    for method in spec.methods:
        for column in spec.columns:
            row: Row = own(Row, spec, context, method, column, spec.dataset)
            group = results.get((column, spec.dataset, method))
            found.append(dataclasses.replace(row, **over_seeds(group)[1]) if group else row)
            found += _costs(spec, row, measurements.get((column, spec.dataset)))
    for row in quoted(Row, spec):
        spread = "" if row.paper_spread is None else spec.literature[row.row].spread
        found.append(dataclasses.replace(row, spread=spread))
    return found


def _costs(spec: Spec, row: Row, measurement: dict[str, Any] | None) -> list[Row]:
    """Time and memory with as many inner steps as the method trains with, if they were measured."""
    rows = [dataclasses.replace(row, quantity=quantity) for quantity in QUANTITIES[1:]]
    found = measured.at_training(measurement, row.row) if measurement else None
    if measurement is None or found is None:
        return rows
    cost, trained = found
    first = measured.at_training(measurement, spec.methods[0])
    ratios = [None, None]
    if first and first[0].tasks == cost.tasks:
        ratios = [cost.seconds / first[0].seconds, cost.bytes / first[0].bytes]
    common = {"steps": cost.steps, "trained_steps": trained, "tasks": cost.tasks}
    common["device"] = cost.device
    spread: dict[str, Any] = {"ours_low": cost.seconds_low, "ours_high": cost.seconds_high}
    time: dict[str, Any] = {"ours": cost.seconds, "n": cost.rounds, "what": cost.clock, **spread}
    memory: dict[str, Any] = {"ours": cost.bytes, "n": 1, "what": cost.memory}
    return [
        dataclasses.replace(row, ratio=ratio, **values, **common)
        for row, ratio, values in zip(rows, ratios, (time, memory), strict=True)
    ]


def page(spec: Spec, context: Context, rows: Sequence[Row]) -> Page:
    """Three columns per experiment, and two lines per method of ours: relative, then absolute.

    Methods and experiments without any number of ours are only named, see `_shown`.
    """
    rows = _shown(rows)
    columns = {c: spec.columns[c] for c in spec.columns if any(row.column == c for row in rows)}
    blocks = []
    for cells in by_row(rows, "ours"):
        steps = dict.fromkeys(_steps(cell) for cell in cells if cell.steps is not None)
        label = f"T = {' / '.join(steps)}" if steps else "seeds"
        value = line(cells[0].row_title, cells, _value)
        blocks.append((value, line(label, cells, _detail, "detail")))
    sections = [Section(f"Ours on {context.titles([spec.dataset])}", tuple(blocks))]
    literature = by_row(rows, "literature")
    if literature:
        heading = f"Literature on {context.dataset_title(spec.dataset)}, as printed"
        quotes = []
        for cells in literature:  # which have neither times nor memory
            means = [repr(cell.paper) for cell in cells if cell.paper is not None]
            decimals = max((len(mean.partition(".")[2]) for mean in means), default=0)
            texts = [printed(cell.paper, cell.paper_spread, decimals) for cell in cells]
            spread = tuple(part for text in texts for part in (text, *("" for _ in QUANTITIES[1:])))
            quotes.append((Line(cells[0].row_title, spread),))
        sections.append(Section(heading, tuple(quotes)))
    cited = {spec.literature[cells[0].row].source for cells in literature}
    ran = {row.row for row in rows if row.section == "ours"}
    names = [_short(context.methods.get(m, m)) for m in spec.methods if m not in ran]
    headings = [heading for column, heading in spec.columns.items() if column not in columns]
    left_out = "; ".join(", ".join(some) for some in (names, headings) if some)
    absent = [f"Not run at this scale: {left_out}."] if left_out else []
    uncited = {entry.source for entry in spec.literature.values()} - cited
    return Page.of(
        spec,
        context,
        [spec.dataset],
        training=_training(columns, rows),
        headings=tuple(
            heading for column in columns.values() for heading in (column, *QUANTITIES[1:])
        ),
        sections=tuple(sections),
        notes=(*_legend(spec, context, rows), *absent),
        references=tuple(text for name, text in spec.references.items() if name not in uncited),
    )


def _shown(rows: Sequence[Row]) -> list[Row]:
    """The rows of methods and columns with a number of ours, and what is printed in these columns.

    All rows if there is no such number.
    """
    run = [row for row in rows if row.ours is not None]
    columns, methods = {row.column for row in run}, {row.row for row in run}
    here = [row for row in rows if row.column in columns]
    quoted = {row.row for row in here if row.paper is not None}
    kept = {"ours": methods, "literature": quoted}
    return [row for row in here if row.row in kept[row.section]] if run else list(rows)


def _steps(cell: Row) -> str:
    """Inner steps of a measurement, e.g. "8", or "8 of 16" where training has more."""
    more = "" if cell.steps == cell.trained_steps else f" of {cell.trained_steps}"
    return f"{cell.steps}{more}"


def _value(cell: Row) -> str:
    if cell.quantity != "accuracy":
        return DASH if cell.ratio is None else f"{cell.ratio:.2f}×"
    if cell.ours is None or cell.ours_high is None:
        return DASH
    return f"{cell.ours:.2f} ± {cell.ours_high - cell.ours:.2f}"


def _detail(cell: Row) -> str:
    """Seeds, or seconds or bytes."""
    if cell.quantity == "accuracy":
        return seeds(cell)
    return "" if cell.ours is None else measured.text(cell.quantity, cell.ours)


def _training(headings: dict[str, str], rows: Sequence[Row]) -> str:
    """Meta-iterations of each column, and of methods that were trained otherwise than the first."""
    texts = []
    for column, heading in headings.items():
        runs: dict[str, list[str]] = {}
        for row in rows:
            if row.column == column and row.iterations is not None:
                run = f"{row.iterations:,} meta-iterations of {row.meta_batch} tasks"
                runs.setdefault(run, []).append(_short(row.row_title))
        others = [f"{', '.join(names)}: {run}" for run, names in list(runs.items())[1:]]
        text = next(iter(runs), "not run") + (f" ({'; '.join(others)})" if others else "")
        texts.append((heading, text))
    return grouped("Training", texts, " and ")


def _legend(spec: Spec, context: Context, rows: Sequence[Row]) -> list[str]:
    """How to read the lines, what was measured and where, and what the ± of the literature is."""
    episodes = f"{_joined(rows, lambda row: row.episodes)} ".lstrip()
    legend = [
        f"Accuracy in percent ± 95% interval over {episodes}test episodes of the mean of the "
        "seeds; in small print their standard deviation (sd) and number (n)."
    ]
    times = [row for row in rows if row.quantity == "time" and row.ours is not None]
    sizes = [row for row in rows if row.quantity == "memory" and row.ours is not None]
    if times:
        first_name = _short(context.methods.get(spec.methods[0], spec.methods[0]))
        fewer = _joined([row for row in times if row.steps != row.trained_steps], _steps)
        exception = f"; where so many were not measured (T = {fewer}), the most that were"
        legend += [
            f"Time: {_joined(times, lambda row: row.what)} of a meta-iteration of "
            f"{_joined(times, lambda row: row.tasks)} tasks, median of "
            f"{_joined(times, lambda row: row.n)} rounds, methods interleaved. Memory: "
            f"{_joined(sizes, lambda row: row.what)}. Device: "
            f"{_joined(times, lambda row: row.device)}.",
            f"×: relative to {first_name}, at T inner steps, as many as each "
            f"method trains with{exception if fewer else ''}.",
        ]
        first = {row.column: row.tasks for row in times if row.row == spec.methods[0]}
        odd = [row for row in times if row.tasks != first.get(row.column, row.tasks)]
        if odd:  # they can't be set beside the first method
            cells = [f"{_short(r.row_title)}, {r.column_title}: {r.tasks} tasks" for r in odd]
            legend.append(
                f"No ratio where another number of tasks was measured ({'; '.join(cells)})."
            )
    else:
        legend.append("Time and memory: not measured.")
    kinds: dict[str, list[str]] = {}
    for row in rows:
        if row.spread and row.row_title not in kinds.setdefault(row.spread, []):
            kinds[row.spread].append(row.row_title)
    legend += [f"± of {'; '.join(titles)}: {kind}." for kind, titles in kinds.items()]
    return legend


def _short(title: str) -> str:
    return title.removesuffix(" (ours)")


def _joined(rows: Sequence[Row], value: Callable[[Row], object]) -> str:
    """The differing values of rows, joined by "or"; nothing where there is None."""
    values = dict.fromkeys(value(row) for row in rows)
    return " or ".join(str(found) for found in values if found is not None)
