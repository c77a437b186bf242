"""The table of training times (Table 1): seconds per epoch, hours of all epochs, ratio."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from multistep.pages import timing
from multistep.pages.context import Context
from multistep.pages.layout import DASH, Page, Section, line, printed, signed
from multistep.pages.query import Point, TidyRow, group_measurements, otherwise
from multistep.pages.spec import Dataset, Experiment, Method, Number, Reference, ShownMethod, Wants
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

    def wants(self) -> Wants:
        return Wants(measured=[(self.experiment, self.dataset)])


@dataclass(frozen=True)
class Row(TidyRow):
    """A method's seconds per epoch, hours of the paper's epochs, or ratio to the first method.

    `ours_low` and `ours_high`: 95% interval over the `n` mini-batches that were timed.
    """

    epoch_sd: float | None = None  # of an epoch, taking its mini-batches as independent
    batches: int | None = None  # timed
    iterations: int | None = None  # mini-batches of an epoch
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
        lines = [line(cells[0].row_title, cells, _value), line("mini-batches", cells, _n, "detail")]
        if any(cell.paper is not None for cell in cells):
            lines.append(line("paper", cells, _printed, "detail"))
        if any(cell.gap is not None for cell in cells):
            lines.append(line("gap", cells, _gap, "detail"))
        blocks.append(tuple(lines))
    device = f" The paper: a {spec.paper.device}." if spec.paper else ""
    sources = [row.source for row in rows if row.source]
    return Page(
        title=spec.title,
        caption=spec.caption.format(data=context.titles([spec.dataset])),
        provenance=context.provenance(context.dataset(spec.dataset), sources=sources),
        training=_how(rows) + device,
        headings=tuple(dict.fromkeys(row.column_title for row in rows)),
        sections=(Section("", tuple(blocks)),),
        notes=(*_legend(spec), *otherwise(rows), *spec.notes),
        references=tuple(spec.references.values()),
    )


def _rows(spec: Spec, context: Context, method: str, times: dict[str, Point]) -> list[Row]:
    time, first = times.get(method), times.get(spec.methods[0])
    dataset = context.dataset(spec.dataset)
    common = Row(
        method,
        "",
        row_title=context.methods.get(method, method),
        scale=context.scale,
        data=context.dataset_title(dataset),
    )
    if time is not None:
        common = dataclasses.replace(
            common,
            n=time.batches,
            **{key: getattr(time, key) for key in _FROM_TIMES},
        )
    hours = spec.epochs / 3600
    seconds = time.seconds if time else None
    half_width = time.seconds_half_width if time else None
    ratio, ratio_half_width = timing.relative(time, first)
    paper = spec.paper
    printed_seconds = paper.seconds.get(method, [None, None]) if paper else [None, None]
    values = {
        "seconds": (seconds, half_width, *printed_seconds),
        "hours": (
            None if seconds is None else seconds * hours,
            None if half_width is None else half_width * hours,
            paper.hours.get(method) if paper else None,
            None,
        ),
        "ratio": (ratio, ratio_half_width, paper.ratio.get(method) if paper else None, None),
    }
    titles = {
        "seconds": "Seconds per epoch",
        "hours": f"Hours of {spec.epochs} epochs",
        "ratio": "Ratio",
    }
    found = []
    for column, (ours, width, theirs, spread) in values.items():
        row = dataclasses.replace(
            common,
            column=column,
            column_title=titles[column],
            ours=ours,
            ours_low=None if ours is None or width is None else ours - width,
            ours_high=None if ours is None or width is None else ours + width,
            epoch_sd=time.seconds_sd if time and column == "seconds" else None,
            paper=theirs,
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


def _how(rows: Sequence[Row]) -> str:
    return timing.how([row for row in rows if row.column == "seconds" and row.n])


def _value(cell: Row) -> str:
    if cell.ours is None:
        return DASH
    if cell.column == "seconds":
        return timing.text(cell.ours, cell.epoch_sd)
    return f"{cell.ours:.2f}"


def _n(cell: Row) -> str:
    return f"n = {cell.n}" if cell.column == "seconds" else ""


def _printed(cell: Row) -> str:
    if cell.paper is None:
        return DASH
    fewest = {"seconds": 1, "hours": 0, "ratio": 2}[cell.column]
    value = int(cell.paper) if cell.column == "hours" and cell.paper.is_integer() else cell.paper
    return printed(value, cell.paper_spread, fewest)


def _gap(cell: Row) -> str:
    return DASH if cell.gap is None else signed(cell.gap, 2)


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
