"""Tables of test accuracies (Table 4): results and printed numbers as tidy rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from multistep import stats
from multistep.pages.tables import AccuracyPaper, AccuracyTable
from multistep.reports.query import Result, TidyRow, group_results
from multistep.reports.spec import Context


@dataclass(frozen=True)
class Row(TidyRow):
    """One cell of a table: a method, or a row of the literature, in the column of an experiment.

    Accuracies and spreads in percent. `ours` is the mean over seeds and test episodes, `ours_low`
    and `ours_high` the 95% interval of it over test episodes.
    """

    seed_sd: float | None = None  # sample standard deviation over seeds
    episodes: int | None = None  # test episodes of each seed
    note: str = ""
    seed_t95: float | None = None  # half-width of the Student t interval over seeds
    paper_half_width: float | None = None  # of the paper's mean over all its test episodes
    within: str = ""  # "yes" or "no": gap inside the joint interval; empty where not like for like
    exact: float | None = None  # mean over seeds of the exactly adapted accuracy
    exact_half_width: float | None = None  # 95% over test episodes, mean of the seeds' half-widths
    iterations: int | None = None  # meta-iterations run
    meta_batch: int | None = None  # tasks in each
    section: str = "ours"  # or "literature"
    row_title: str = ""
    column_title: str = ""
    scale: str = ""
    data: str = ""


def rows(spec: AccuracyTable, context: Context, results: Sequence[Result]) -> list[Row]:
    """All cells of a table: the literature's, then one per method and experiment.

    `results` may be incomplete: a cell without one has n = 0 and no number of ours.
    """
    groups = group_results(spec, context, results)
    literature = [
        _printed(spec, name, column) for name in spec.literature for column in spec.columns
    ]
    ours = [
        _ours(spec, context, method, column, groups.get((column, spec.dataset, method), []))
        for method in spec.methods
        for column in spec.columns
    ]
    return literature + ours


def _printed(spec: AccuracyTable, name: str, column: str) -> Row:
    """A cell that the paper quotes from the literature."""
    literature = spec.literature[name]
    accuracy, spread = literature.values.get(column, (None, None))
    title = f"{literature.title} {citation_mark(spec.references[literature.source])}".strip()
    return Row(
        name,
        column,
        paper=accuracy,
        paper_spread=spread,
        section="literature",
        row_title=title,
        column_title=spec.columns[column],
    )


def _ours(
    spec: AccuracyTable, context: Context, method: str, column: str, results: list[Result]
) -> Row:
    """Our cell: what the seeds say together, and the paper's number beside it."""
    paper = spec.paper
    printed = paper.values.get(method, {}).get(column) if paper else None
    remark = spec.cell_notes.get(method, {}).get(column, "")
    row = Row(
        method,
        column,
        note=remark,
        row_title=context.methods.get(method, method),
        column_title=spec.columns[column],
        scale=context.scale,
        data=context.dataset_title(context.dataset(spec.dataset)),
    )
    if paper and printed:
        half_width = stats.rescaled_half_width(printed[1], paper.meta_batch[column])
        row = dataclasses.replace(
            row, paper=printed[0], paper_spread=printed[1], paper_half_width=half_width
        )
    if not results:
        return row

    metrics = [result["metrics"] for result in results]
    ours = stats.over_episodes_and_seeds([m["episode_accuracies"] for m in metrics])
    seeds = [float(m["test_accuracy"]) for m in metrics]
    exact, exact_half_width = _exact(metrics)
    row = dataclasses.replace(
        row,
        ours=ours.mean,
        ours_low=ours.low,
        ours_high=ours.high,
        n=len(results),
        seed_sd=stats.over_seeds(seeds)[1],
        seed_t95=stats.t_interval(seeds).half_width if len(seeds) > 1 else None,
        episodes=ours.n,
        iterations=int(metrics[0]["iterations"]),
        meta_batch=int(results[0]["cell"]["settings"]["meta_batch"]),
        exact=exact,
        exact_half_width=exact_half_width,
    )
    if not (paper and printed):
        return row
    comparison = stats.compare(
        ours, printed[0], row.paper_half_width or 0.0, float16=paper.float16_means
    )
    reason = _not_like_for_like(spec, paper, context, row)
    within = "" if reason else ("yes" if comparison.within else "no")
    note = " ".join(part for part in (remark, reason) if part)
    return dataclasses.replace(row, gap=comparison.gap, within=within, note=note)


def _exact(metrics: list[dict[str, Any]]) -> tuple[float, float] | tuple[None, None]:
    """Accuracy after exact adaptation at test time and its half-width, if every seed has them.

    The seeds' half-widths are averaged, which is an upper bound for the half-width of their mean.
    """
    exact = [m["exact_adaptation"] for m in metrics if m.get("exact_adaptation")]
    if len(exact) < len(metrics):
        return None, None
    accuracy, _ = stats.over_seeds([e["test_accuracy"] for e in exact])
    half_width, _ = stats.over_seeds([e["test_ci95"] for e in exact])
    return accuracy, half_width


def _not_like_for_like(
    spec: AccuracyTable, paper: AccuracyPaper, context: Context, row: Row
) -> str:
    """Why a gap says nothing about the method, or nothing if the cell is the paper's own."""
    if context.is_stand_in(context.dataset(spec.dataset)):
        return "Not compared: stand-in data."
    theirs = (paper.iterations, paper.meta_batch[row.column])
    if (row.iterations, row.meta_batch) != theirs:
        return (
            f"Not compared: {row.iterations:,} meta-iterations of {row.meta_batch} tasks; "
            f"the paper has {theirs[0]:,} of {theirs[1]}."
        )
    return ""


def citation_mark(reference: str) -> str:
    """The "[11]" that a reference begins with, or nothing."""
    return reference.split("]")[0] + "]" if reference.startswith("[") else ""
