"""Tables of transfer accuracies (Tables 2 and 3): a column per target, a row per method."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from multistep import stats
from multistep.pages import DataFrame, pd, query
from multistep.pages.context import Context, short
from multistep.pages.layout import (
    Bold,
    Line,
    Page,
    counted,
    groups,
    plus_minus,
    printed,
    signed,
)
from multistep.pages.spec import (
    Column,
    Dataset,
    Literature,
    Method,
    Number,
    Quotation,
    Ref,
    Reference,
    SourceNetwork,
    Transfer,
    Wants,
)
from multistep.pages.spec import Spec as AnySpec
from multistep.pages.tables import (
    compared,
    grid,
    literature,
    numbers,
    otherwise,
    per_cell,
    training,
)
from multistep.settings import Model

if TYPE_CHECKING:
    from multistep.plan.schema import Params

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

    Of the epoch with the best validation accuracy. Numbers that the paper quotes come last.
    """

    columns: dict[Annotated[Dataset, Ref("entry of sources", "sources")], str]  # dataset: heading
    sources: dict[Column, SourceNetwork]  # what the paper transfers from
    rows: dict[Method, dict[Column, Transfer]]  # which has the cells
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

    def mistakes(self, params: "Params | None" = None) -> list[str]:
        shown = {column for row in self.rows.values() for column in row}
        empty = [f"columns: no row has {column}" for column in self.columns.keys() - shown]
        return [*super().mistakes(params), *empty]

    def wants(self) -> Wants:
        return Wants(
            [(e, dataset, m) for m, row in self.rows.items() for dataset, e in row.items()]
        )


COLUMNS = "seed_sd seed_t95 validation epochs quoted experiment source"
"""Accuracies in percent. ours: the mean over seeds of the test accuracy at the epoch with the best
validation accuracy; ours_low and ours_high lie one standard deviation from it. Besides:

seed_sd, seed_t95: over seeds, sample standard deviation and half-width of the Student t interval.
validation: mean over seeds of the best validation accuracy. quoted: "yes" where paper is a number
that the paper took from elsewhere. source: the source network that was used.
"""


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> DataFrame:
    """All cells of a table: one per method and target, then what the paper quotes."""
    found = grid(spec, context, spec.rows)
    found["experiment"] = [spec.rows[c.row].get(c.column, "") for c in found.itertuples()]
    ours = per_cell(query.data(spec, context, records).runs, "dataset", _of_seeds)
    found = found.merge(ours, "left")
    values = {m: dict(v) for m, v in spec.paper.values.items()} if spec.paper else {}
    taken = set[tuple[str, str]]()
    for entry in spec.literature.values():
        if entry.method:
            own = values.get(entry.method, {})
            values[entry.method] = entry.values | own
            taken |= {(entry.method, column) for column in entry.values.keys() - own.keys()}
    found = found.merge(numbers(values), "left")
    found["quoted"] = ["yes" if (c.row, c.column) in taken else "" for c in found.itertuples()]

    def differs(cell: Any) -> str:
        text = context.differs(cell.experiment, cell.column, cell.row)
        if not text and spec.paper and cell.epochs != spec.paper.epochs:
            return f"{counted(cell.epochs, 'epoch')} (the paper's: {spec.paper.epochs})"
        return text

    found = compared(
        found,
        lambda c: context.stand_in([c.column], [c.source]),
        differs,
        lambda c: {"gap": c.ours - c.paper},
    )
    return pd.concat([found, literature(spec).assign(quoted="yes")])


def _of_seeds(runs: DataFrame) -> dict[str, Any]:
    """A cell over its seeds."""
    accuracies = runs["metrics.test_accuracy"].tolist()
    mean, sd = stats.over_seeds(accuracies)
    scratch = runs.algorithm.iloc[0] == "scratch"
    return {
        "ours": mean,
        "ours_low": None if sd is None else mean - sd,
        "ours_high": None if sd is None else mean + sd,
        "n": len(runs),
        "seed_sd": sd,
        "seed_t95": stats.sampled(accuracies, "seeds").half_width(),
        "validation": runs["metrics.validation_accuracy"].mean(),
        "epochs": runs["metrics.epochs"].iloc[0],
        "source": "" if scratch else runs["settings.source"].iloc[0],
    }


def page(spec: Spec, context: Context, rows: DataFrame) -> Page:
    """The paper's layout: sources under the targets, ours beside the paper's, then quoted rows."""
    ours, theirs = rows[rows.section == "ours"], rows[rows.section == "literature"]
    run = ours[ours.n > 0]
    shown = [c for c in spec.columns if not len(run) or c in set(run.column)]
    used = [source for source in run.source if source]
    # What is best is bold where several seeds, or several printed numbers, can be ranked.
    own = rows[(rows.section == "literature") | (rows.quoted == "")]
    several = ours[ours.column.map(run.groupby("column").n.min()) > 1].groupby("column").ours
    printed_ = own[own.paper.notna()].groupby("column").paper
    best = {} if spec.beyond or len(spec.rows) < 2 else dict(several.max())
    largest = {} if spec.beyond else dict(printed_.max()[printed_.size() > 1])

    def bold(text: str | None, value: Any, top: Any) -> str | None:
        # As printed: of two that read the same none is the better one.
        return Bold(text) if text and top and round(value, 2) == round(top, 2) else text

    def paper(c: Any) -> str | None:
        return bold(printed(c.paper, c.paper_spread, 2), c.paper, largest.get(c.column))

    def texts(c: Any) -> dict[str, str | None]:
        label = "quoted" if "yes" in set(ours[ours.row == c.row].quoted) else "paper"
        return {
            "": bold(plus_minus(c.ours, c.seed_sd), c.ours, best.get(c.column)),
            "seeds": f"n = {c.n:g}" if c.n else None,
            label: paper(c),
            "gap": signed(c.gap),
        }

    beside = spec.paper or spec.literature
    sections = {"Ours, and below it the paper's" if beside else "": groups(ours, texts)}
    if len(theirs):
        heading = "Quoted by the paper from earlier work"
        sections[heading] = groups(theirs, lambda c: {"": paper(c)})
    return Page.of(
        spec,
        context,
        shown,
        used or [context.used(spec.sources[column]) for column in shown],
        training=training(
            spec.columns,
            ours,
            lambda c: counted(c.epochs, "epoch"),
            lambda _: counted(spec.paper.epochs, "epoch") if spec.paper else "",
        ),
        headings=tuple(spec.columns.values()),
        subheadings=_subheadings(spec, context, run),
        sections=sections,
        notes=(*_legend(spec, ours, bool(best), bool(largest)), *otherwise(ours)),
    )


def _subheadings(spec: Spec, context: Context, run: DataFrame) -> list[Line]:
    """The paper's source networks; what ours are where a scale has something else."""
    theirs = [context.source_title(spec.sources[column]) for column in spec.columns]
    lines, ours, data = [Line("Source", theirs, "detail")], [], []
    for column, heading in spec.columns.items():
        used = sorted({source for source in run[run.column == column].source if source})
        networks = used or [context.used(spec.sources[column])]
        ours.append(", ".join(short(context.source_title(network)) for network in networks))
        title = short(context.titles([column]))
        data.append(title if context.stand_in([column]) else heading)
    if ours != theirs:
        lines.append(Line("Our source", ours, "detail"))
    if data != list(spec.columns.values()):
        lines.append(Line("Our data", data, "detail"))
    return lines


def _legend(spec: Spec, rows: DataFrame, best: bool, largest: bool) -> list[str]:
    """How to read the lines; what is bold and what a gap is only where there are any."""
    legend = []
    if (rows.n > 0).any():
        legend.append(
            "Test accuracy at the epoch with the best validation accuracy: mean over n seeds ± "
            "their sample standard deviation."
        )
    if spec.paper is not None or spec.literature:
        theirs = (
            "Paper, quoted: as printed, ± standard deviation over three models; a quoted number is "
            "not the paper's own."
        )
        gap = " Gap: ours − printed, in points, unless ours is on stand-in data."
        legend.append(theirs + (gap if rows.gap.notna().any() else ""))
    bold = ["the best of ours"] * best + ["the best that the paper prints"] * largest
    return legend + ([f"Bold: {' and '.join(bold)}."] if bold else [])
