"""The table of training times (Table 1): seconds per epoch, hours of all epochs, ratio."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from multistep.pages import timing
from multistep.pages.context import Context
from multistep.pages.layout import DASH, Line, Page, Section, line, printed, signed
from multistep.pages.query import Point, TidyRow, group_measurements, otherwise
from multistep.pages.spec import (
    Dataset,
    Experiment,
    Method,
    Number,
    Quotation,
    Reference,
    ShownMethod,
    Wants,
)
from multistep.pages.spec import Spec as AnySpec
from multistep.settings import Model


class EpochTimePaper(Model):
    source: Reference
    device: str
    seconds: dict[ShownMethod, Number]  # method: [seconds per epoch, sd over models]
    hours: dict[ShownMethod, float]  # of `epochs` epochs, as printed
    ratio: dict[ShownMethod, float]


class Spec(AnySpec):
    """Seconds per epoch of training alone, relative to the first method.

    From single mini-batches that were timed with all methods interleaved.
    """

    dataset: Dataset
    experiment: Experiment
    methods: list[Method] = Field(min_length=1)
    epochs: int = Field(ge=1)  # whose hours are shown
    paper: EpochTimePaper | None = None
    references: dict[str, str] = {}

    def quotations(self) -> Iterator[Quotation]:
        if (paper := self.paper) is not None:
            of = (self.experiment, self.dataset)
            for method, (mean, sd) in paper.seconds.items():
                yield Quotation(paper.source, "epoch_seconds", mean, sd, *of, method)
            for quantity, values in (("hours", paper.hours), ("ratio", paper.ratio)):
                for method, value in values.items():
                    yield Quotation(paper.source, quantity, value, None, *of, method)

    def wants(self) -> Wants:
        return Wants(measured=[(self.experiment, self.dataset)])


@dataclass(frozen=True)
class Row(TidyRow):
    """A method's seconds per epoch, hours of the paper's epochs, or ratio to the first method.

    `ours_low` and `ours_high`: 95% interval over the `n` mini-batches that were timed.
    """

    epoch_sd: float | None = None  # of an epoch, taking its mini-batches as independent
    batches: int | None = None  # timed
    iterations: float | None = None  # mini-batches of an epoch
    batch_size: int | None = None
    scheme: str = ""
    source_features: str = ""
    clock: str = ""
    bytes: int | None = None
    memory: str = ""
    device: str = ""
    note: str = ""
    source: str = ""


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> list[Row]:
    """Three cells per method; without a measurement they have the printed numbers alone."""
    found = group_measurements(spec, context, records)
    measurement = found.get((spec.experiment, spec.dataset))
    times = timing.epoch_times(measurement, spec.methods)
    return [row for method in spec.methods for row in _rows(spec, context, method, times)]


def page(spec: Spec, context: Context, rows: Sequence[Row]) -> Page:
    """One row per method as in the paper, with the paper's numbers below ours."""
    blocks = []
    for method in spec.methods:
        cells = [row for row in rows if row.row == method]
        batches = f"n = {cells[0].n}"  # in the column of seconds
        lines = [line(cells[0].row_title, cells, _value)]
        lines.append(Line("mini-batches", (batches, *("" for _ in cells[1:])), "detail"))
        if any(cell.paper is not None for cell in cells):
            lines.append(line("paper", cells, _printed, "detail"))
        if any(cell.gap is not None for cell in cells):
            lines.append(line("gap", cells, lambda cell: signed(cell.gap, 2), "detail"))
        blocks.append(tuple(lines))
    device = f" The paper: a {spec.paper.device}." if spec.paper else ""
    timed = [row for row in rows if row.column == "seconds" and row.n]
    return Page.of(
        spec,
        context,
        [spec.dataset],
        [row.source for row in rows if row.source],
        training=timing.how(timed) + device,
        headings=tuple(dict.fromkeys(row.column_title for row in rows)),
        sections=(Section("", tuple(blocks)),),
        notes=(*_legend(spec), *otherwise(rows)),
    )


def _rows(spec: Spec, context: Context, method: str, times: dict[str, Point]) -> list[Row]:
    time, first = times.get(method), times.get(spec.methods[0])
    common = Row(
        method,
        "",
        row_title=context.methods.get(method, method),
        scale=context.scale,
        data=context.titles([spec.dataset]),
    )
    hours = spec.epochs / 3600
    seconds = half_width = long = long_half_width = None
    if time is not None:
        timed = {key: value for key, value in vars(time).items() if key in _FROM_TIMES}
        common = dataclasses.replace(common, n=time.batches, **timed)
        seconds, half_width = time.seconds, time.seconds_half_width
        long, long_half_width = seconds * hours, None if half_width is None else half_width * hours
    paper = spec.paper
    theirs = (
        *((paper.seconds if paper else {}).get(method, [None, None])),
        (paper.hours if paper else {}).get(method),
        (paper.ratio if paper else {}).get(method),
    )
    found = []
    for column, title, ours, width, printed_, spread in (
        ("seconds", "Seconds per epoch", seconds, half_width, theirs[0], theirs[1]),
        ("hours", f"Hours of {spec.epochs} epochs", long, long_half_width, theirs[2], None),
        ("ratio", "Ratio", *timing.relative(time, first), theirs[3], None),
    ):
        row = dataclasses.replace(
            common,
            column=column,
            column_title=title,
            ours=ours,
            ours_low=None if ours is None or width is None else ours - width,
            ours_high=None if ours is None or width is None else ours + width,
            epoch_sd=time.seconds_sd if time and column == "seconds" else None,
            paper=printed_,
            paper_spread=spread,
        )
        found.append(_compared(spec, context, row))
    return found


_FROM_TIMES: tuple[str, ...] = ("batches", "iterations", "batch_size", "scheme", "source_features")
_FROM_TIMES += ("clock", "bytes", "memory", "device", "source")


def _compared(spec: Spec, context: Context, row: Row) -> Row:
    """With the gap, where it says something: the ratio does on any device, seconds do not."""
    first, dataset = spec.methods[0], context.dataset(spec.dataset)
    if row.ours is None or row.paper is None or row.column != "ratio" or row.row == first:
        return row
    if context.is_stand_in(dataset) or context.is_stand_in(row.source):
        return dataclasses.replace(row, note="Not compared: stand-in data.")
    of = [context.differs("measure", spec.experiment, spec.dataset, m) for m in (row.row, first)]
    if differs := "; ".join(dict.fromkeys(text for text in of if text)):
        return dataclasses.replace(row, otherwise=differs)
    if (row.scheme, row.source_features) != ("replay", "step"):
        return dataclasses.replace(row, note="Not compared: the paper's was computed otherwise.")
    return dataclasses.replace(row, gap=row.ours - row.paper)


def _value(cell: Row) -> str:
    if cell.ours is None:
        return DASH
    if cell.column == "seconds":
        return timing.text(cell.ours, cell.epoch_sd)
    return f"{cell.ours:.2f}"


def _printed(cell: Row) -> str:
    if cell.paper is None:
        return DASH
    fewest = {"seconds": 1, "hours": 0, "ratio": 2}[cell.column]
    value = int(cell.paper) if cell.column == "hours" and cell.paper.is_integer() else cell.paper
    return printed(value, cell.paper_spread, fewest)


def _legend(spec: Spec) -> list[str]:
    legend = [
        "Seconds per epoch ± standard deviation of an epoch, from that of single mini-batches as "
        "if they were independent. Ratio: to the first row."
    ]
    if spec.paper is not None:
        legend.append(
            "Paper: as printed, ± standard deviation over three models. Seconds and hours depend "
            "on the device, so only the ratio has a gap (ours − printed)."
        )
    return legend
