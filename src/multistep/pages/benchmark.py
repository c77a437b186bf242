"""Tables of few-shot methods side by side: accuracy, time and memory as tidy rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from multistep.pages import accuracy, measured
from multistep.pages.kinds.tables import BenchmarkTable
from multistep.pages.query import Result, TidyRow, group_measurements, group_results
from multistep.pages.spec import Context

QUANTITIES = ("accuracy", "time", "memory")


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
    section: str = "ours"  # or "literature"
    row_title: str = ""
    column_title: str = ""
    scale: str = ""
    data: str = ""


def rows(spec: BenchmarkTable, context: Context, records: Sequence[dict[str, Any]]) -> list[Row]:
    """Three rows per method and column, then the literature's; what is missing has n = 0."""
    results = group_results(spec, context, records)
    measurements = group_measurements(spec, context, records)
    found = []
    for method in spec.methods:
        for column in spec.columns:
            group = results.get((column, spec.dataset, method), [])
            found.append(_accuracy(spec, context, method, column, group))
            measurement = measurements.get((column, spec.dataset))
            found += _costs(spec, context, method, column, measurement)
    for name in spec.literature:
        found += [_printed(spec, name, column) for column in spec.columns]
    return found


def _row(spec: BenchmarkTable, context: Context, method: str, column: str, quantity: str) -> Row:
    """A row of ours without its number."""
    return Row(
        method,
        column,
        quantity=quantity,
        row_title=context.methods.get(method, method),
        column_title=spec.columns[column],
        scale=context.scale,
        data=context.dataset_title(context.dataset(spec.dataset)),
    )


def _accuracy(
    spec: BenchmarkTable, context: Context, method: str, column: str, results: list[Result]
) -> Row:
    row = _row(spec, context, method, column, "accuracy")
    if not results:
        return row
    return dataclasses.replace(row, **accuracy.over_seeds(results).fields)


def _costs(
    spec: BenchmarkTable,
    context: Context,
    method: str,
    column: str,
    measurement: dict[str, Any] | None,
) -> list[Row]:
    """Time and memory with as many inner steps as the method trains with, if they were measured."""
    empty = [_row(spec, context, method, column, quantity) for quantity in QUANTITIES[1:]]
    found = measured.at_training(measurement, method) if measurement else None
    if measurement is None or found is None:
        return empty
    cost, trained = found
    first = measured.at_training(measurement, spec.methods[0])
    reference = first[0] if first and first[0].tasks == cost.tasks else None
    common: dict[str, Any] = {
        "steps": cost.steps,
        "trained_steps": trained,
        "tasks": cost.tasks,
        "device": cost.device,
    }
    time, memory = empty
    return [
        dataclasses.replace(
            time,
            ours=cost.seconds,
            ours_low=cost.seconds_low,
            ours_high=cost.seconds_high,
            n=cost.rounds,
            ratio=cost.seconds / reference.seconds if reference else None,
            what=cost.clock,
            **common,
        ),
        dataclasses.replace(
            memory,
            ours=cost.bytes,
            n=1,
            ratio=cost.bytes / reference.bytes if reference else None,
            what=cost.memory,
            **common,
        ),
    ]


def _printed(spec: BenchmarkTable, name: str, column: str) -> Row:
    """An accuracy of the literature."""
    printed = spec.literature[name]
    mean, spread = [*printed.values.get(column, []), None, None][:2]
    title = f"{printed.title} {accuracy.citation_mark(spec.references[printed.source])}".strip()
    return Row(
        name,
        column,
        paper=mean,
        paper_spread=spread,
        spread=printed.spread if spread is not None else "",
        section="literature",
        row_title=title,
        column_title=spec.columns[column],
    )
