"""Tables: one module a kind.

It has `Spec` (what such a table says in its YAML file), `COLUMNS` (of the csv beside `TIDY`),
`rows` (from records to a frame of cells: a query, `grid` with what was run and what is printed
merged to it) and `page` (from the frame to lines of text); written as csv, md, tex and html.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from multistep import stats
from multistep.files import write_text
from multistep.pages import DataFrame, pd, query, record, remarks, templates
from multistep.pages.context import Context
from multistep.pages.layout import Page, counted, grouped, known
from multistep.pages.spec import Spec, module

TIDY = (
    "row column ours ours_low ours_high n paper paper_spread gap otherwise section row_title "
    "column_title scale data note"
)
"""What the csv of every table has; empty where there is no number.

ours, ours_low, ours_high: ours with its interval; n: of what it is a mean (seeds, mini-batches).
paper, paper_spread: as printed. gap: ours - paper, where ours was run as the paper scale's in every
setting; otherwise: the settings in which it wasn't, with that scale's. section: ours or literature.
"""

TEXTS = {"otherwise", "section", "note", "candidates", "quoted", "source", "spread"}


def write_table(
    prefix: Path,
    spec: Spec,
    context: Context,
    records: Sequence[dict[str, Any]],
    drawn: tuple[Page, DataFrame] | None = None,
) -> list[Path]:
    """Write `<prefix>.csv`, `.md`, `.tex`, `.html` and the page's record, each whole or not at all.

    `records` are results, evaluations, measurements or descriptions of prepared data, as it needs;
    `drawn`: what `draw` makes of them, if that is there already.
    """
    page, rows = drawn or draw(spec, context, records)
    texts = {"csv": query.csv_text(rows)}
    texts |= {form: templates.render(page, form) for form in templates.FORMATS}
    paths = [prefix.with_name(f"{prefix.name}.{form}") for form in texts]
    record.begin(prefix)
    for path, text in zip(paths, texts.values(), strict=True):
        write_text(path, text)
    said = {key: getattr(page, key) for key in ("title", "caption", "provenance", "notes")}
    return [*paths, record.write(prefix, "tables", spec, context, records, paths, said)]


def draw(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> tuple[Page, DataFrame]:
    """What a table shows, as lines of text and as the frame of its cells."""
    kind = module("tables", spec.kind)
    query.check_inputs(records)
    notes = [*spec.notes, *remarks.remarks(spec, context, records)]
    rows = cells(spec, context, records)
    return kind.page(spec.model_copy(update={"notes": notes}), context, rows), rows


def cells(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> DataFrame:
    """The cells of a table, with the columns of its csv."""
    kind = module("tables", spec.kind)
    found = kind.rows(spec, context, records)
    columns = dict.fromkeys([*TIDY.split(), *kind.COLUMNS.split()])
    found = found.reindex(columns=list(columns)).reset_index(drop=True)
    for column in TEXTS & columns.keys():
        found[column] = found[column].astype(object).where(found[column].notna(), "")
    section = found.section.where(found.section != "", "ours")
    return found.assign(section=section, n=found.n.astype(float).fillna(0))


def grid(
    spec: Any, context: Context, methods: Iterable[str], dataset: str | None = None
) -> DataFrame:
    """A cell for each of our methods in each column, without its numbers.

    `dataset`: what all columns show; without one each shows the dataset of its name.
    """
    return pd.DataFrame(
        {
            "row": method,
            "column": column,
            "row_title": context.methods.get(method, method),
            "column_title": heading,
            "scale": context.scale,
            "data": context.titles([dataset or column]),
        }
        for method in methods
        for column, heading in spec.columns.items()
    )


def per_cell(
    runs: DataFrame, column: str, of: Callable[[DataFrame], Mapping[str, Any]]
) -> DataFrame:
    """What `of` says of the runs of each cell: a row for each method and `column`."""
    groups = runs.groupby(["method", column], sort=False)
    rows = [{"row": row, "column": name, **of(group)} for (row, name), group in groups]
    return pd.DataFrame(rows, columns=None if rows else ["row", "column"])


def numbers(values: Mapping[str, Mapping[str, Sequence[float]]]) -> DataFrame:
    """Printed numbers [value, its ± if any] by row and column, to merge with a grid."""
    flat = [(row, c, *[*n, None][:2]) for row, ns in values.items() for c, n in ns.items()]
    found = pd.DataFrame(flat, columns=["row", "column", "paper", "paper_spread"])
    return found.astype({"paper": float, "paper_spread": float})


def literature(spec: Any) -> DataFrame:
    """The cells of numbers of the literature; after the title the "[11]" of their reference."""
    rows = []
    for name, entry in spec.literature.items():
        mark, bracket, _ = spec.references[entry.source].partition("]")
        title = f"{entry.title} {mark}{bracket}" if mark.startswith("[") else entry.title
        for column, heading in spec.columns.items():
            rows.append((name, column, "literature", title, heading))
    grid = pd.DataFrame(rows, columns=["row", "column", "section", "row_title", "column_title"])
    return grid.merge(numbers({k: e.values for k, e in spec.literature.items()}), "left")


def few_shot(runs: DataFrame) -> dict[str, Any]:
    """The accuracy of a few-shot cell over its seeds (rows of `frame.runs`), for its columns."""
    ours = stats.over_episodes_and_seeds(runs["metrics.episode_accuracies"].tolist())
    seeds = runs["metrics.test_accuracy"].tolist()
    return {
        "ours": ours.mean,
        "ours_low": ours.low,
        "ours_high": ours.high,
        "n": len(runs),
        "seed_sd": stats.over_seeds(seeds)[1],
        "seed_t95": stats.sampled(seeds, "seeds").half_width(),
        "episodes": ours.n,
        "iterations": runs["metrics.iterations"].iloc[0],
        "meta_batch": runs["settings.meta_batch"].iloc[0],
    }


def compared(
    rows: DataFrame,
    stand_in: Callable[[Any], bool],
    differs: Callable[[Any], str],
    gap: Callable[[Any], Mapping[str, Any]],
) -> DataFrame:
    """The rows with their `gap`, or with the reason why a number beside a printed one has none.

    `stand_in`: whether a cell is of stand-in data; `differs`: in what it isn't the paper's run.
    """
    rows = rows.reindex(columns=dict.fromkeys([*rows, "ours", "paper"]))
    found: list[Mapping[str, Any]] = []
    for cell in rows.itertuples():
        if not (known(cell.ours) and known(cell.paper)):
            found.append({})
        elif stand_in(cell):
            found.append({"note": "Not compared: stand-in data."})
        else:
            other = differs(cell)
            found.append({"otherwise": other} if other else gap(cell))
    return pd.concat([rows, pd.DataFrame(found, index=rows.index)], axis=1)


def meta_training(iterations: float, tasks: float) -> str:
    """How a few-shot cell was trained; `tasks`: in a meta-batch."""
    return f"{counted(iterations, 'meta-iteration')} of {counted(tasks, 'task')}"


def training(
    headings: Mapping[str, str],
    rows: DataFrame,
    run: Callable[[Any], str],
    theirs: Callable[[str], str],
) -> str:
    """How the cells of each column were trained, `run` of each, and `theirs` of a column if any."""
    texts = []
    for column, heading in headings.items():
        here = rows[(rows.column == column) & (rows.n > 0)]
        runs = sorted({run(cell) for cell in here.itertuples()}, key=lambda text: (len(text), text))
        text, paper = " or ".join(runs) or "not run", theirs(column)
        if runs and paper and runs != [paper]:
            text += f" (the paper: {paper})"
        elif runs and paper and not here.otherwise.any():
            text += " (as the paper)"
        texts.append((heading, text))
    return grouped("Training", texts)


def otherwise(rows: DataFrame) -> Iterator[str]:
    """A note on how cells with a number of the paper were run otherwise; what all share once."""
    cells = rows[rows.otherwise != ""]
    if cells.empty:
        return
    each = [dict.fromkeys(text.split("; ")) for text in cells.otherwise]
    shared = [text for text in each[0] if all(text in other for other in each)]
    own = [", ".join(text for text in texts if text not in shared) for texts in each]
    said = [", ".join(shared)] if shared else []
    of_columns: dict[str, list[str]] = {}
    for (text, column), group in cells.groupby([own, "column_title"], sort=False):
        whole = len(group) == (cells.column_title == column).sum()
        names = column if whole else f"{column} of {', '.join(group.row_title)}"
        of_columns.setdefault(text, []).append(names)
    said += [f"{'; '.join(names)}: {text}" for text, names in of_columns.items() if text]
    yield f"Run otherwise than the paper scale, so no gap is given: {'; '.join(said)}."
