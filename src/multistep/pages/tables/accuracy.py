"""Tables of test accuracies (Tables 4, 5): results and printed numbers as tidy rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from multistep import stats
from multistep.pages.context import Context
from multistep.pages.layout import (
    DASH,
    Line,
    Page,
    Section,
    by_row,
    grouped,
    line,
    printed,
    seeds,
    signed,
)
from multistep.pages.query import Result, TidyRow, group_results, otherwise, over_seeds, own, quoted
from multistep.pages.spec import (
    Column,
    Experiment,
    FewShotTable,
    Literature,
    Number,
    Ref,
    Reference,
    ShownMethod,
)
from multistep.settings import Model


class AccuracyPaper(Model):
    """The paper's own rows; its meta-batch and inner learning rate are what ours are set beside.

    `interval_n`: what n is in its half-widths 1.96 s/√n: its test episodes, or those divided by the
    meta-batch, which makes them √(meta-batch) times too wide for the mean over all episodes.
    """

    source: Reference
    iterations: int
    episodes: int
    meta_batch: dict[Column, int]
    interval_n: Literal["episodes", "episodes/meta_batch"] = "episodes"
    float16_means: bool
    inner_lr: dict[ShownMethod, dict[Column, float]] = {}  # what it chose by validation
    values: dict[ShownMethod, dict[Column, Number]]


class Spec(FewShotTable):
    """Few-shot accuracies beside the paper's.

    The numbers that the paper quotes from the literature come first, then ours with the 95%
    interval over test episodes, the spread over seeds, the paper's number as printed, in brackets
    its half-width where that has to be rescaled, and the gap where there is one.
    """

    columns: dict[Annotated[Experiment, Ref("paper.meta_batch entry", "paper.meta_batch")], str]
    literature: dict[str, Literature] = {}
    paper: AccuracyPaper | None = None
    cell_notes: dict[ShownMethod, dict[Column, str]] = {}


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


def rows(spec: Spec, context: Context, results: Sequence[Result]) -> list[Row]:
    """All cells of a table: the literature's, then one per method and experiment.

    `results` may be incomplete: a cell without one has n = 0 and no number of ours.
    """
    groups = group_results(spec, context, results)
    return quoted(Row, spec) + [
        _cell(spec, context, method, column, groups.get((column, spec.dataset, method), []))
        for method in spec.methods
        for column in spec.columns
    ]


def _cell(spec: Spec, context: Context, method: str, column: str, results: list[Result]) -> Row:
    """Our cell: what the seeds say together, and the paper's number beside it."""
    paper = spec.paper
    theirs = paper.values.get(method, {}).get(column) if paper else None
    remark = spec.cell_notes.get(method, {}).get(column, "")
    row: Row = own(Row, spec, context, method, column, spec.dataset)
    row = dataclasses.replace(row, note=remark)
    if paper and theirs:
        row = dataclasses.replace(
            row,
            paper=theirs[0],
            paper_spread=theirs[1],
            paper_half_width=theirs[1]
            if paper.interval_n == "episodes"
            else stats.rescaled_half_width(theirs[1], paper.meta_batch[column]),
            paper_inner_lr=paper.inner_lr.get(method, {}).get(column),
        )
    if not results:
        return row

    metrics = [result["metrics"] for result in results]
    ours, fields = over_seeds(results)
    row = dataclasses.replace(
        row,
        **fields,
        **_another(metrics, "exact_adaptation", "exact"),
        tested=" ".join(str(m["best"]["iteration"]) for m in metrics if m.get("best")),
        **_another(metrics, "last", "last"),
        inner_lr=results[0]["cell"]["settings"].get("inner_lr"),
        candidates=_candidates(results[0]["cell"].get("chosen")),
    )
    if not (paper and theirs):
        return row
    if context.is_stand_in(context.dataset(spec.dataset)):
        note = " ".join(part for part in (remark, "Not compared: stand-in data.") if part)
        return dataclasses.replace(row, note=note)
    differs = context.differs(column, spec.dataset, method) or _not_like_for_like(paper, row)
    if differs:
        return dataclasses.replace(row, otherwise=differs)
    comparison = stats.compare(
        ours, theirs[0], row.paper_half_width or 0.0, float16=paper.float16_means
    )
    return dataclasses.replace(row, gap=comparison.gap, within="yes" if comparison.within else "no")


def _another(metrics: list[dict[str, Any]], key: str, name: str) -> dict[str, Any]:
    """Another test accuracy of the cell and its half-width, if every seed has them.

    The seeds' half-widths are averaged, which is an upper bound for the half-width of their mean.
    """
    found = [m[key] for m in metrics if m.get(key)]
    if len(found) < len(metrics):
        return {}
    parts = {name: "test_accuracy", f"{name}_half_width": "test_ci95"}
    return {of: stats.over_seeds([m[part] for m in found])[0] for of, part in parts.items()}


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
    """In what a cell isn't the paper's by what the page itself says of the paper."""
    theirs = (paper.iterations, paper.meta_batch[row.column])
    if (row.iterations, row.meta_batch) != theirs:
        return (
            f"{row.iterations:,} meta-iterations of {row.meta_batch} tasks "
            f"(the paper's: {theirs[0]:,} of {theirs[1]})"
        )
    if row.paper_inner_lr not in (None, row.inner_lr) and not row.candidates:
        return f"inner_lr {row.inner_lr:g} (the paper's: {row.paper_inner_lr:g})"
    return ""


def page(spec: Spec, context: Context, rows: Sequence[Row]) -> Page:
    """Arrange the rows of `accuracy.rows` as the paper does."""
    ours = by_row(rows, "ours")
    original = context.dataset_title(spec.dataset)
    sections = []
    if literature := by_row(rows, "literature"):
        quotes = (
            line(c[0].row_title, c, lambda c: printed(c.paper, c.paper_spread)) for c in literature
        )
        heading = f"Literature on {original}, as the paper quotes it"
        sections.append(Section(heading, tuple((quote,) for quote in quotes)))
    gaps = any(row.gap is not None for row in rows)
    heading = f"Ours on {context.titles([spec.dataset])}, the paper's on {original}"
    sections.append(Section(heading, tuple(_group(spec, cells, gaps) for cells in ours)))
    # Inner learning rates are shown where they differ from cell to cell by somebody's choice.
    if any(row.candidates or row.paper_inner_lr is not None for row in rows):

        def rate(cell: Row) -> str:
            rates = (cell.inner_lr, cell.paper_inner_lr)
            return " / ".join(DASH if rate is None else f"{rate:g}" for rate in rates)

        rates = tuple((line(cells[0].row_title, cells, rate, "detail"),) for cells in ours)
        sections.append(Section("Inner learning rate: ours / the paper's", rates))
    remarks = [
        f"{context.methods.get(method, method)}, {spec.columns[column]}: {remark}"
        for method, remarks in spec.cell_notes.items()
        for column, remark in remarks.items()
    ]
    return Page.of(
        spec,
        context,
        [spec.dataset],
        training=_training(spec, rows),
        headings=tuple(spec.columns.values()),
        sections=tuple(sections),
        notes=(*_legend(spec, rows, gaps), *otherwise(rows), *remarks),
    )


def _group(spec: Spec, cells: list[Row], gaps: bool) -> tuple[Line, ...]:
    """One of our methods: its accuracies, and below them the seeds, the paper and any gap."""

    def shown(label: str, text: Callable[[Row], str]) -> Line:
        return line(label, cells, text, "detail")

    def paper(cell: Row) -> str:
        rescaled = spec.paper is not None and spec.paper.interval_n != "episodes"
        width = f" [{cell.paper_half_width:.2f}]" if cell.paper is not None and rescaled else ""
        return _mean(cell.paper, cell.paper_spread) + width

    verdicts = {"yes": ", inside", "no": ", outside", "": ""}
    lines = [
        line(cells[0].row_title, cells, lambda c: _mean(c.ours, c.ours_high, c.ours)),
        shown("seeds", seeds),
    ]
    if any(cell.exact is not None for cell in cells):
        lines.append(shown("exact adaptation", lambda c: _mean(c.exact, c.exact_half_width)))
    if any(cell.last is not None for cell in cells):
        lines.append(shown("last iterate", lambda c: _mean(c.last, c.last_half_width)))
    if any(cell.paper is not None for cell in cells):
        lines.append(shown("paper", paper))
        if gaps:
            lines.append(shown("gap", lambda c: signed(c.gap, 2) + verdicts[c.within]))
    return tuple(lines)


def _mean(value: float | None, end: float | None, start: float | None = 0.0) -> str:
    """A mean ± its half-width, `end` - `start`."""
    if value is None or end is None or start is None:
        return DASH
    return f"{value:.2f} ± {end - start:.2f}"


def _training(spec: Spec, rows: Sequence[Row]) -> str:
    """How long each column was trained, against the paper's meta-iterations and meta-batch."""
    texts = []
    for column, heading in spec.columns.items():
        runs = {
            (row.iterations, row.meta_batch)
            for row in rows
            if row.column == column and row.iterations is not None
        }
        text = " or ".join(f"{n:,} meta-iterations of {tasks} tasks" for n, tasks in sorted(runs))
        if runs and spec.paper is not None:
            theirs = (spec.paper.iterations, spec.paper.meta_batch[column])
            if runs != {theirs}:
                text += f" (the paper: {theirs[0]:,} of {theirs[1]})"
            elif not any(row.otherwise for row in rows if row.column == column):
                text += " (as the paper)"
        texts.append((heading, text or "not run"))
    return grouped("Training", texts, " and ")


def _legend(spec: Spec, rows: Sequence[Row], gaps: bool) -> list[str]:
    """How to read the lines of the second section."""
    counts = sorted({row.episodes for row in rows if row.episodes is not None})
    episodes = f"{' or '.join(str(count) for count in counts)} " if counts else ""
    legend = [
        f"Accuracy ± 95% interval over {episodes}test episodes of the mean of the seeds. "
        "Seeds: sample standard deviation of their means (sd), number of seeds (n)."
    ]
    if (paper := spec.paper) is not None:
        interval = f"with its 95% interval over {paper.episodes} episodes"
        if paper.interval_n != "episodes":
            interval = f"± as printed [half-width over {paper.episodes} episodes]"
        text = f"Paper: as printed, {interval}."
        if gaps:
            text += (
                " Gap: ours − paper, in points; inside or outside the joint 95% interval over test "
                "episodes (the spread over seeds comes on top), where the cell was run as the "
                "paper's."
            )
        elif any(row.ours is not None and row.paper is not None for row in rows):
            text += " No gap is given: ours is not the paper's run."
        legend.append(text)
    if exact := [row for row in rows if row.exact is not None]:
        legend.append(
            "Exact adaptation: the same networks, adapted at test time with a gradient per inner "
            f"step instead of one per window{_bound(exact)}."
        )
    if last := [row for row in rows if row.last is not None]:
        legend.append(
            "The tested network is the iterate with the highest accuracy on validation classes; "
            f"last iterate: the one after all meta-iterations{_bound(last)}."
        )
    trained = [row for row in rows if row.inner_lr is not None]
    if any(row.candidates for row in trained):
        which = "is chosen for each cell by accuracy on validation classes"
        if not all(row.candidates for row in trained):
            which = "is chosen by accuracy on validation classes where the csv has candidates"
        legend.append(f"Our inner learning rate {which}; the csv has that of every candidate.")
    return legend


def _bound(rows: Sequence[Row]) -> str:
    """What the ± of exact adaptation or of the last iterate is, where rows have several seeds."""
    several = any(row.n > 1 for row in rows)
    return "; its ± is the mean of the seeds' half-widths, an upper bound" if several else ""
