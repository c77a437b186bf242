"""Tables of few-shot methods side by side: accuracy, time and memory as tidy rows."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field

from multistep.pages import DataFrame, measured, pd, query
from multistep.pages.context import Context
from multistep.pages.layout import (
    Line,
    Page,
    counted,
    grouped,
    groups,
    joined,
    known,
    plus_minus,
    printed,
    seeds,
)
from multistep.pages.spec import Column, FewShotTable, Reference, Wants
from multistep.pages.tables import few_shot, grid, literature, meta_training, per_cell
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
        wants = super().wants()
        return wants._replace(timed=wants.cells)


COLUMNS = (
    "quantity ratio steps trained_steps tasks what device seed_sd seed_t95 episodes iterations "
    "meta_batch spread"
)
"""A row is one quantity: accuracy in percent, over n seeds, with the 95% interval over test
episodes; time in seconds of a meta-iteration, the median and quartiles of n rounds; memory in
bytes. Besides:

ratio: to the first method, if both were measured with equally many tasks. steps, trained_steps:
inner steps of the measurement and of training; tasks: in the measured meta-batch; what: was
measured, e.g. process seconds; device: of the measurement. seed_sd, seed_t95, episodes, iterations,
meta_batch: as in multistep.pages.tables.accuracy. spread: what paper_spread is.
"""


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> DataFrame:
    """Three rows per method and column, then the literature's; what is missing has n = 0."""
    data = query.data(spec, context, records)
    cells = grid(spec, context, spec.methods, spec.dataset)
    results = data.runs[data.runs.record == "result"]
    accuracy = cells.merge(per_cell(results, "experiment", few_shot), "left")
    costs = _costs(spec, query.costs(data))
    both = [accuracy.assign(quantity="accuracy")]
    both += [cells.assign(quantity=quantity).merge(costs, "left") for quantity in QUANTITIES[1:]]
    places = {name: i for names in (spec.methods, spec.columns) for i, name in enumerate(names)}
    ours = pd.concat(both).sort_values(  # stable: quantities stay in order
        ["row", "column"], key=lambda names: names.map(places), kind="stable"
    )
    theirs = literature(spec).assign(quantity="accuracy")
    spreads = theirs.row.map({name: entry.spread for name, entry in spec.literature.items()})
    return pd.concat([ours, theirs.assign(spread=spreads.where(theirs.paper_spread.notna(), ""))])


def _costs(spec: Spec, costs: DataFrame) -> DataFrame:
    """Time and memory with as many inner steps as a method trains with, if they were measured;
    where not, with the most that were.
    """
    trained = costs.assign(trained=costs.steps == costs.trained_steps)
    ours = trained.sort_values(["trained", "steps"]).groupby(["experiment", "method"]).tail(1)
    ours = ours.rename(columns={"experiment": "column", "method": "row"})
    first = ours[ours.row == spec.methods[0]].set_index("column")
    found = []
    for quantity, names in _MEASURED.items():
        one = ours[["row", "column", "steps", "trained_steps", "tasks", "device"]].copy()
        one["quantity"] = quantity
        one[list(names.values())] = ours[list(names)]
        alike = ours.tasks == ours.column.map(first.tasks)
        value = next(iter(names))
        one["ratio"] = (ours[value] / ours.column.map(first[value])).where(alike)
        found.append(one if quantity == "time" else one.assign(n=1))
    return pd.concat(found)


_MEASURED = {
    "time": {
        "seconds": "ours", "seconds_low": "ours_low", "seconds_high": "ours_high", "rounds": "n",
        "clock": "what",
    },
    "memory": {"bytes": "ours", "memory": "what"},
}  # fmt: skip


def page(spec: Spec, context: Context, rows: DataFrame) -> Page:
    """Three columns per experiment, and two lines per method of ours: relative, then absolute.

    Of methods and experiments without any number of ours only the names are shown.
    """
    run = rows[rows.ours.notna()]
    if len(run):
        rows = rows[rows.column.isin(run.column)]
        rows = rows[
            rows.row.isin(run.row) & (rows.section == "ours")
            | rows.paper.notna()
            | rows.row.isin(rows[rows.paper.notna()].row) & (rows.section == "literature")
        ]
    ours, theirs = rows[rows.section == "ours"], rows[rows.section == "literature"]
    columns = {c: heading for c, heading in spec.columns.items() if c in set(rows.column)}
    steps = {
        row: " / ".join(dict.fromkeys(_steps(c) for c in cells.itertuples()))
        for row, cells in ours[ours.steps.notna()].groupby("row")
    }

    def texts(c: Any) -> dict[str, str | None]:
        small = f"T = {steps[c.row]}" if c.row in steps else "seeds"
        if c.quantity == "accuracy":
            return {"": plus_minus(c.ours, c.ours_high - c.ours), small: seeds(c)}
        absolute = measured.text(c.quantity, c.ours) if known(c.ours) else None
        return {"": f"{c.ratio:.2f}×" if known(c.ratio) else None, small: absolute}

    sections = {f"Ours on {context.titles([spec.dataset])}": groups(ours, texts)}
    if len(theirs):
        heading = f"Literature on {context.dataset_title(spec.dataset)}, as printed"
        decimals = {
            row: max(len(repr(mean).partition(".")[2]) for mean in means.dropna())
            for row, means in theirs.groupby("row").paper
        }
        quotes = groups(theirs, lambda c: {"": printed(c.paper, c.paper_spread, decimals[c.row])})
        sections[heading] = [  # which have neither times nor memory
            [Line(line.label, [part for text in line.texts for part in (text, "", "")])]
            for (line,) in quotes
        ]
    absent = [context.methods.get(m, m) for m in spec.methods if m not in set(ours.row)]
    left_out = [*map(_short, absent)], [h for c, h in spec.columns.items() if c not in columns]
    said = "; ".join(", ".join(names) for names in left_out if names)
    uncited = {entry.source for entry in spec.literature.values()} - {
        spec.literature[row].source for row in theirs.row
    }
    return Page.of(
        spec,
        context,
        [spec.dataset],
        training=_training(columns, ours),
        headings=[text for heading in columns.values() for text in (heading, *QUANTITIES[1:])],
        sections=sections,
        notes=(
            *_legend(spec, context, rows),
            *([f"Not run at this scale: {said}."] if said else []),
        ),
        references=[text for name, text in spec.references.items() if name not in uncited],
    )


def _steps(cell: Any) -> str:
    """Inner steps of a measurement, e.g. "8", or "8 of 16" where training has more."""
    more = "" if cell.steps == cell.trained_steps else f" of {cell.trained_steps:g}"
    return f"{cell.steps:g}{more}"


def _training(headings: dict[str, str], rows: DataFrame) -> str:
    """Meta-iterations of each column, and of methods that were trained otherwise than the first."""
    texts = []
    for column, heading in headings.items():
        runs: dict[str, list[str]] = {}
        for row in rows[(rows.column == column) & rows.iterations.notna()].itertuples():
            run = meta_training(row.iterations, row.meta_batch)
            runs.setdefault(run, []).append(_short(row.row_title))
        others = [f"{', '.join(names)}: {run}" for run, names in list(runs.items())[1:]]
        text = next(iter(runs), "not run") + (f" ({'; '.join(others)})" if others else "")
        texts.append((heading, text))
    return grouped("Training", texts)


def _legend(spec: Spec, context: Context, rows: DataFrame) -> Iterator[str]:
    """How to read the lines, what was measured and where, and what the ± of the literature is."""
    if (rows.episodes.notna()).any():
        yield (
            f"Accuracy in percent ± 95% interval over {joined(rows.episodes)} test episodes of the "
            "mean of the seeds; in small print their standard deviation (sd) and number (n)."
        )
    run = rows[rows.ours.notna()]
    times, sizes = (run[run.quantity == quantity] for quantity in QUANTITIES[1:])
    if len(times):
        first = context.methods.get(spec.methods[0], spec.methods[0])
        fewer = joined(map(_steps, times[times.steps != times.trained_steps].itertuples()))
        exception = f"; where so many were not measured (T = {fewer}), the most that were"
        yield (
            f"Time: {joined(times.what)} of a meta-iteration of {joined(times.tasks)} tasks, "
            f"median of {joined(times.n)} rounds, methods interleaved. Memory: "
            f"{joined(sizes.what)}. Device: {joined(times.device)}."
        )
        related = f"×: relative to {_short(first)}, at T" if times.ratio.notna().any() else "T:"
        yield f"{related} inner steps, as many as each method trains with{exception * bool(fewer)}."
        tasks = times[times.row == spec.methods[0]].set_index("column").tasks
        theirs = times.column.map(tasks)
        odd = times[theirs.notna() & (theirs != times.tasks)].itertuples()
        cells = [
            f"{_short(c.row_title)}, {c.column_title}: {counted(c.tasks, 'task')}" for c in odd
        ]
        if cells:  # they can't be set beside the first method
            yield f"No ratio where another number of tasks was measured ({'; '.join(cells)})."
    else:
        yield "Time and memory: not measured."
    for spread, cells in rows[rows.spread != ""].groupby("spread", sort=False):
        yield f"± of {'; '.join(dict.fromkeys(cells.row_title))}: {spread}."


def _short(title: str) -> str:
    return title.removesuffix(" (ours)")
