"""Tables of test accuracies (Tables 4, 5): ours over seeds beside the printed ones."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from multistep import stats
from multistep.pages import DataFrame, pd, query
from multistep.pages.context import Context
from multistep.pages.layout import (
    DASH,
    Line,
    Page,
    groups,
    joined,
    known,
    plus_minus,
    printed,
    seeds,
    signed,
)
from multistep.pages.spec import (
    Column,
    FewShot,
    FewShotTable,
    Literature,
    Number,
    Ref,
    Reference,
    ShownMethod,
)
from multistep.pages.tables import (
    compared,
    few_shot,
    grid,
    literature,
    meta_training,
    numbers,
    otherwise,
    per_cell,
    training,
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

    def too_wide(self, column: str) -> float:
        """By what factor half-widths of a column are those of fewer episodes than were tested."""
        return 1.0 if self.interval_n == "episodes" else math.sqrt(self.meta_batch[column])


class Spec(FewShotTable):
    """Few-shot accuracies beside the paper's.

    Ours with the 95% interval over test episodes, the spread over seeds, the paper's number as
    printed, in brackets its half-width where that has to be rescaled, and the gap where there is
    one; then the numbers that the paper quotes from the literature.
    """

    columns: Annotated[
        dict[Annotated[FewShot, Ref("paper.meta_batch entry", "paper.meta_batch")], str],
        Field(min_length=1),
    ]
    literature: dict[str, Literature] = {}
    paper: AccuracyPaper | None = None
    cell_notes: dict[ShownMethod, dict[Column, str]] = {}


COLUMNS = (
    "seed_sd episodes seed_t95 paper_half_width within exact exact_half_width iterations "
    "meta_batch tested last last_half_width inner_lr candidates paper_inner_lr"
)
"""Accuracies and spreads in percent. ours: the mean over seeds and test episodes, with its 95%
interval over test episodes. Besides:

seed_sd, seed_t95: over seeds, sample standard deviation and half-width of the Student t interval.
episodes: test episodes of each seed; iterations, meta_batch: meta-iterations run, tasks in each.
paper_half_width: of the paper's mean over all its test episodes. within: "yes" or "no", gap inside
the joint interval; empty where not like for like, or where all episodes are equal. exact, last:
mean over seeds of the accuracy adapted exactly, or of the last iterates where validation selects
another; their half-widths are the mean of the seeds', an upper bound. tested: iterations of the
tested iterates by seed. inner_lr, and the candidates it was chosen from with their validation
accuracies; paper_inner_lr: the paper's.
"""


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> DataFrame:
    """All cells of a table: one per method and experiment, then the literature's.

    Records may be incomplete: a cell without one has n = 0 and no number of ours.
    """
    runs = query.data(spec, context, records).runs
    found = grid(spec, context, spec.methods, spec.dataset)
    found = found.merge(per_cell(runs, "experiment", _of_seeds), "left")
    remarks = {(m, c): text for m, texts in spec.cell_notes.items() for c, text in texts.items()}
    cells = list(zip(found.row, found.column, strict=True))
    if paper := spec.paper:
        found = found.merge(numbers(paper.values), "left")
        rates = {(m, c): rate for m, rates in paper.inner_lr.items() for c, rate in rates.items()}
        found["paper_inner_lr"] = [rates.get(cell) for cell in cells]
        found["paper_half_width"] = found.paper_spread / found.column.map(paper.too_wide)
        found = compared(
            found,
            lambda _: context.stand_in([spec.dataset]),
            lambda c: context.differs(c.column, spec.dataset, c.row) or _differs(spec, c),
            lambda c: _gap(paper, c),
        )
    told = zip(cells, found.reindex(columns=["note"]).note, strict=True)
    found["note"] = [" ".join(str(t) for t in (remarks.get(c), n) if known(t)) for c, n in told]
    return pd.concat([found, literature(spec)])


def _of_seeds(runs: DataFrame) -> dict[str, Any]:
    """A cell over its seeds; another accuracy of it if every seed has that."""
    runs = runs.reindex(columns=dict.fromkeys([*runs.columns, *_ANOTHER, "metrics.best.iteration"]))
    found = {name: runs[key].mean(skipna=False) for key, name in _ANOTHER.items()}
    tested = runs["metrics.best.iteration"].dropna()
    choice = runs.chosen.iloc[0]
    scores = {}
    if choice is not None and choice["setting"] == "inner_lr":
        scores = {c["value"]: c["validation_accuracy"] for c in choice["candidates"]}
    return {
        **few_shot(runs),
        **found,
        "tested": " ".join(f"{iteration:.0f}" for iteration in tested),
        "inner_lr": runs["settings.inner_lr"].iloc[0] if "settings.inner_lr" in runs else None,
        "candidates": "; ".join(
            f"{value:g}: " + ("diverged" if score is None else f"{score:.2f}")
            for value, score in sorted(scores.items())
        ),
    }


_ANOTHER = {
    "metrics.exact_adaptation.test_accuracy": "exact",
    "metrics.exact_adaptation.test_ci95": "exact_half_width",
    "metrics.last.test_accuracy": "last",
    "metrics.last.test_ci95": "last_half_width",
}


def _theirs(spec: Spec, column: str) -> str:
    """How the paper's own cells of a column were trained."""
    return meta_training(spec.paper.iterations, spec.paper.meta_batch[column]) if spec.paper else ""


def _differs(spec: Spec, cell: Any) -> str:
    """In what a cell isn't the paper's by what the page itself says of the paper."""
    ours = meta_training(cell.iterations, cell.meta_batch)
    theirs = _theirs(spec, cell.column)
    if ours != theirs:
        return f"{ours} (the paper's: {theirs})"
    if known(cell.paper_inner_lr) and cell.paper_inner_lr != cell.inner_lr and not cell.candidates:
        return f"inner_lr {cell.inner_lr:g} (the paper's: {cell.paper_inner_lr:g})"
    return ""


def _gap(paper: AccuracyPaper, cell: Any) -> dict[str, Any]:
    ours = stats.Mean(cell.ours, cell.ours_high - cell.ours, cell.episodes)
    halves = cell.paper_half_width
    gap, within = stats.compare(ours, cell.paper, halves, float16=paper.float16_means)
    varied = ours.half_width > stats.ROUNDING
    return {"gap": gap, "within": ("yes" if within else "no") if varied else ""}


def page(spec: Spec, context: Context, rows: DataFrame) -> Page:
    """The paper's layout, ours first."""
    ours, theirs = rows[rows.section == "ours"], rows[rows.section == "literature"]
    original = context.dataset_title(spec.dataset)
    rescaled = spec.paper is not None and spec.paper.interval_n != "episodes"
    verdicts = {"yes": ", inside", "no": ", outside"}

    def texts(c: Any) -> dict[str, str | None]:
        paper = plus_minus(c.paper, c.paper_spread)
        width = f" [{c.paper_half_width:.2f}]" if paper and rescaled else ""
        gap = signed(c.gap)
        return {
            "": plus_minus(c.ours, c.ours_high - c.ours),
            "seeds": seeds(c),
            "exact adaptation": plus_minus(c.exact, c.exact_half_width),
            "last iterate": plus_minus(c.last, c.last_half_width),
            "paper": paper and paper + width,
            "gap": gap and gap + verdicts.get(c.within, ""),
        }

    heading = f"Ours on {context.titles([spec.dataset])}"
    heading += f", the paper's on {original}" if spec.paper else ""
    sections = {heading: groups(ours, texts)}
    if len(theirs):
        heading = f"Literature on {original}, as the paper quotes it"
        sections[heading] = groups(theirs, lambda c: {"": printed(c.paper, c.paper_spread)})
    # Inner learning rates are shown where they differ from cell to cell by somebody's choice.
    if ours.candidates.any() or ours.paper_inner_lr.notna().any():

        def rates(c: Any) -> dict[str, str | None]:
            both = (c.inner_lr, c.paper_inner_lr)
            return {"": " / ".join(f"{rate:g}" if known(rate) else DASH for rate in both)}

        lines = [Line(g[0].label, g[0].texts, "detail") for g in groups(ours, rates)]
        sections["Inner learning rate: ours / the paper's"] = [[line] for line in lines]
    remarks = [
        f"{context.methods.get(method, method)}, {spec.columns[column]}: {remark}"
        for method, texts_ in spec.cell_notes.items()
        for column, remark in texts_.items()
    ]
    return Page.of(
        spec,
        context,
        [spec.dataset],
        training=training(
            spec.columns,
            ours,
            lambda c: meta_training(c.iterations, c.meta_batch),
            lambda column: _theirs(spec, column),
        ),
        headings=tuple(spec.columns.values()),
        sections=sections,
        notes=(*_legend(spec, ours), *otherwise(ours), *remarks),
    )


def _legend(spec: Spec, rows: DataFrame) -> list[str]:
    """How to read the lines of our section; only of those that are there."""
    legend, run = [], rows[rows.n > 0]
    exact, last = (rows[rows[name].notna()] for name in ("exact", "last"))
    bound = "; its ± is the mean of the seeds' half-widths, an upper bound"
    if len(run):
        legend.append(
            f"Accuracy ± 95% interval over {joined(run.episodes)} test episodes of the mean of the "
            "seeds. Seeds: sample standard deviation of their means (sd), number of seeds (n)."
        )
    if (paper := spec.paper) is not None:
        interval = f"with its 95% interval over {paper.episodes} episodes"
        if paper.interval_n != "episodes":
            interval = f"± as printed [half-width over {paper.episodes} episodes]"
        text = f"Paper: as printed, {interval}."
        if rows.gap.notna().any():
            text += (
                " Gap: ours − paper, in points; inside or outside the joint 95% interval over test "
                "episodes (the spread over seeds comes on top), where the cell was run as the "
                "paper's."
            )
        legend.append(text)
    if len(exact):
        legend.append(
            "Exact adaptation: the same networks, adapted at test time with a gradient per inner "
            f"step instead of one per window{bound if (exact.n > 1).any() else ''}."
        )
    if len(last):
        legend.append(
            "The tested network is the iterate with the highest accuracy on validation classes; "
            f"last iterate: the one after all meta-iterations"
            f"{bound if (last.n > 1).any() else ''}."
        )
    if (chosen := run.candidates != "").any():
        which = "is chosen for each cell by accuracy on validation classes"
        if not chosen.all():
            which = "is chosen by accuracy on validation classes where the csv has candidates"
        legend.append(f"Our inner learning rate {which}; the csv has that of every candidate.")
    return legend
