"""Tables of test accuracies (Tables 4, 5): results and printed numbers as tidy rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from multistep import stats
from multistep.pages.kinds.tables import AccuracyPaper, AccuracyTable
from multistep.pages.query import Result, TidyRow, group_results
from multistep.pages.spec import Context


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
    tested: str = ""  # iterations of the tested iterates by seed, where validation selects them
    last: float | None = None  # mean over seeds of the last iterates' accuracy, where so
    last_half_width: float | None = None  # as `exact_half_width`
    inner_lr: float | None = None
    candidates: str = ""  # inner learning rates it was chosen from, with validation accuracies
    paper_inner_lr: float | None = None  # the paper's choice
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
        row = dataclasses.replace(
            row,
            paper=printed[0],
            paper_spread=printed[1],
            paper_half_width=_half_width(paper, column, printed[1]),
            paper_inner_lr=paper.inner_lr.get(method, {}).get(column),
        )
    if not results:
        return row

    metrics = [result["metrics"] for result in results]
    ours = over_seeds(results)
    exact, exact_half_width = _another(metrics, "exact_adaptation")
    last, last_half_width = _another(metrics, "last")
    row = dataclasses.replace(
        row,
        **ours.fields,
        exact=exact,
        exact_half_width=exact_half_width,
        tested=" ".join(str(m["best"]["iteration"]) for m in metrics if m.get("best")),
        last=last,
        last_half_width=last_half_width,
        inner_lr=results[0]["cell"]["settings"].get("inner_lr"),
        candidates=_candidates(results[0]["cell"].get("chosen")),
    )
    if not (paper and printed):
        return row
    if context.is_stand_in(context.dataset(spec.dataset)):
        note = " ".join(part for part in (remark, "Not compared: stand-in data.") if part)
        return dataclasses.replace(row, note=note)
    comparison = stats.compare(
        ours.accuracy, printed[0], row.paper_half_width or 0.0, float16=paper.float16_means
    )
    reason = _not_like_for_like(paper, row)
    within = "" if reason else ("yes" if comparison.within else "no")
    note = " ".join(part for part in (remark, reason) if part)
    return dataclasses.replace(row, gap=comparison.gap, within=within, note=note)


@dataclass(frozen=True)
class OverSeeds:
    """The accuracy of a cell over its seeds, and what a row says of it."""

    accuracy: stats.Mean
    fields: dict[str, Any]


def over_seeds(results: Sequence[Result]) -> OverSeeds:
    """What the seeds of one cell say together; its fields have their names in `Row`."""
    metrics = [result["metrics"] for result in results]
    ours = stats.over_episodes_and_seeds([m["episode_accuracies"] for m in metrics])
    seeds = [float(m["test_accuracy"]) for m in metrics]
    return OverSeeds(
        ours,
        {
            "ours": ours.mean,
            "ours_low": ours.low,
            "ours_high": ours.high,
            "n": len(results),
            "seed_sd": stats.over_seeds(seeds)[1],
            "seed_t95": stats.t_interval(seeds).half_width if len(seeds) > 1 else None,
            "episodes": ours.n,
            "iterations": int(metrics[0]["iterations"]),
            "meta_batch": int(results[0]["cell"]["settings"]["meta_batch"]),
        },
    )


def _another(metrics: list[dict[str, Any]], key: str) -> tuple[float, float] | tuple[None, None]:
    """Another test accuracy of the cell and its half-width, if every seed has them.

    The seeds' half-widths are averaged, which is an upper bound for the half-width of their mean.
    """
    found = [m[key] for m in metrics if m.get(key)]
    if len(found) < len(metrics):
        return None, None
    accuracy, _ = stats.over_seeds([other["test_accuracy"] for other in found])
    half_width, _ = stats.over_seeds([other["test_ci95"] for other in found])
    return accuracy, half_width


def _half_width(paper: AccuracyPaper, column: str, printed: float) -> float:
    """The half-width of the paper's mean over all its test episodes."""
    if paper.interval_n == "episodes":
        return printed
    return stats.rescaled_half_width(printed, paper.meta_batch[column])


def _candidates(choice: dict[str, Any] | None) -> str:
    """The inner learning rates that were compared, e.g. "0.01: 45.20; 0.1: diverged"."""
    if choice is None or choice["setting"] != "inner_lr":
        return ""
    scores = {c["value"]: c["validation_accuracy"] for c in choice["candidates"]}
    return "; ".join(
        f"{value:g}: " + ("diverged" if score is None else f"{score:.2f}")
        for value, score in sorted(scores.items())
    )


def _not_like_for_like(paper: AccuracyPaper, row: Row) -> str:
    """Why a gap says nothing about the method, or nothing if the cell is the paper's own."""
    theirs = (paper.iterations, paper.meta_batch[row.column])
    if (row.iterations, row.meta_batch) != theirs:
        return (
            f"Not compared: {row.iterations:,} meta-iterations of {row.meta_batch} tasks; "
            f"the paper has {theirs[0]:,} of {theirs[1]}."
        )
    if row.paper_inner_lr not in (None, row.inner_lr) and not row.candidates:
        return (
            f"Not compared: inner learning rate {row.inner_lr:g}; "
            f"the paper's is {row.paper_inner_lr:g}."
        )
    return ""


def citation_mark(reference: str) -> str:
    """The "[11]" that a reference begins with, or nothing."""
    return reference.split("]")[0] + "]" if reference.startswith("[") else ""
