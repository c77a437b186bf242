"""Figures: one module a kind.

It has `Spec` (what such a figure says in its YAML file), `COLUMNS` of the csv that it is drawn
from, `rows` (from records to a frame of them), `notes` (how to read these rows, for the caption)
and `draw`. They are written as svg, png, pdf and csv; the caption goes into the page's record and
the files' metadata.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multistep.files import write_text
from multistep.pages import DataFrame, pd, query, record, remarks, style
from multistep.pages.context import Context
from multistep.pages.frame import CELL
from multistep.pages.layout import counted, joined
from multistep.pages.spec import Spec, module


class Caption(NamedTuple):
    """What stands beside a figure; `provenance`: scale, data, source networks, devices."""

    title: str
    caption: str
    provenance: str
    notes: list[str]

    @property
    def text(self) -> str:
        """All but the title."""
        return "\n".join([f"{self.caption}.", f"{self.provenance}.", *self.notes])


def write_figure(
    prefix: Path,
    spec: Spec,
    context: Context,
    records: Sequence[dict[str, Any]],
    drawn: tuple[Caption, DataFrame] | None = None,
) -> list[Path]:
    """Write `<prefix>.svg`, `.png`, `.pdf`, the `.csv` they were drawn from, and the page's record.

    `records` are results of cells, measurements, or both, as the kind needs; what is missing is
    left out, what is of another scale is refused. `drawn`: as for tables.
    """
    said, rows = drawn or described(spec, context, records)
    about = {"Title": f"{said.title}, at scale {context.scale}", "Description": said.text}
    record.begin(prefix)
    paths = [*style.save(draw(spec, context, rows), prefix, about), Path(f"{prefix}.csv")]
    write_text(paths[-1], query.csv_text(rows))
    return [*paths, record.write(prefix, "figures", spec, context, records, paths, said._asdict())]


def described(
    spec: Spec, context: Context, records: Sequence[dict[str, Any]]
) -> tuple[Caption, DataFrame]:
    """What stands beside a figure, and its csv as a frame."""
    query.check_inputs(records)
    kind = module("figures", spec.kind)
    rows = kind.rows(spec, context, records) if records else pd.DataFrame()
    rows = rows.reindex(columns=kind.COLUMNS.split())
    datasets, sources = _used(spec, rows)
    devices = "; ".join(each(rows.device))
    provenance = context.provenance(datasets, sources)
    notes = [] if rows.empty else kind.notes(spec, context, rows)
    caption = Caption(
        spec.title,
        spec.caption.format(data=context.titles(datasets)) + spec.remark.rstrip("."),
        provenance + (f"; device: {devices}" if devices else ""),
        [*spec.notes, *filter(None, notes), *remarks.remarks(spec, context, records)],
    )
    return caption, rows


def draw(spec: Spec, context: Context, rows: DataFrame) -> style.Figure:
    """The picture of `rows`, with a badge on what isn't the paper's: it may be seen alone."""
    datasets, sources = _used(spec, rows)
    stand_in = context.stand_in(datasets, sources)
    why = "stand-in data" if stand_in else "not a reproduction"
    with style.theme():
        figure: style.Figure = module("figures", spec.kind).draw(spec, context, rows)
        if stand_in or context.scale != "paper":
            style.badge(figure, f"{context.scale}: {why}")
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # one layout for all formats; "none" would draw each twice
    return figure


def _used(spec: Spec, rows: DataFrame) -> tuple[list[str], list[str]]:
    """The datasets that a figure shows, in the page's words, and source networks."""
    shown = list(dict.fromkeys(rows.get("dataset", []))) or spec.wants().datasets
    return shown, list(dict.fromkeys(name for name in rows.get("source", []) if name))


def over_seeds(data: query.Data, at: str, *quantities: str) -> DataFrame:
    """Numbers of a history: a row a seed and place, a column a quantity, and what `cells` says.

    Places (`at`, e.g. "epoch") without the first quantity are left out. `everywhere`: whether all
    `seeds` of the cell that have any are here.
    """
    numbers = data.numbers[data.numbers.quantity.isin(quantities) & data.numbers[at].notna()]
    numbers = numbers.astype(dict.fromkeys((*CELL, "quantity"), object))
    wide = numbers.pivot(index=[*CELL, at, "seed"], columns="quantity", values="value")
    wide = wide.reindex(columns=quantities).dropna(subset=quantities[0]).reset_index()
    wide["seeds"] = wide.groupby(CELL).seed.transform("nunique")
    wide["everywhere"] = wide.groupby([*CELL, at]).seed.transform("size") == wide.seeds
    return cells(data).merge(wide.astype({at: int, "seed": int}), on=CELL)


def of_seeds(rows: DataFrame, **numbers: tuple[str, str]) -> DataFrame:
    """One row for those of `over_seeds` that differ in the seed alone, where all seeds have one;
    its `numbers` are said as to pandas' `agg`.
    """
    common = [*rows.columns.difference(["seed", *(of for of, _ in numbers.values())], sort=False)]
    groups = rows[rows.everywhere].groupby(common, sort=False, dropna=False)
    return groups.agg(**numbers).reset_index()


def cells(data: query.Data) -> DataFrame:
    """The cells behind a figure in its order, and what its csv says of each."""
    names = {"settings.source": "source", "settings.ways": "ways", "data_title": "data"}
    runs = data.runs[data.runs.record == "result"].rename(columns=names)
    runs = runs.reindex(columns=[*CELL, "algorithm", "device", "clock", "scale", *names.values()])
    runs["source"] = runs.source.where(runs.algorithm != "scratch").astype(object).fillna("")
    for key in ("device", "clock"):  # seeds may have been run on several
        runs[key] = runs.groupby(CELL)[key].transform(lambda d: "; ".join(dict.fromkeys(d)))
    return runs.drop(columns="algorithm").drop_duplicates(CELL, ignore_index=True)


def each(texts: Iterable[str]) -> list[str]:
    """What `cells` has joined, each once."""
    return list(dict.fromkeys(name for text in texts for name in text.split("; ") if name))


def panels(headings: Mapping[str, str], rows: DataFrame, key: str) -> dict[str, DataFrame]:
    """The rows of each panel that has any, by its `key`, in the order of the headings."""
    return {name: here for name in headings if len(here := rows[rows[key] == name])}


def names(context: Context, methods: Iterable[str]) -> dict[str, str]:
    """What a figure calls its methods."""
    return {method: style.look(context, method).name for method in methods}


def missing(
    what: str, called: Mapping[str, str], rows: DataFrame, headings: Mapping[str, str], key: str
) -> str:
    """A note that names the panels without rows, and the methods without rows in panels that have
    some; empty without any. `called`: the names of methods.
    """
    shown = panels(headings, rows, key)
    lacks = [heading for name, heading in headings.items() if name not in shown]
    for method, name in called.items():
        without = [headings[p] for p, here in shown.items() if method not in set(here.method)]
        where = f" ({', '.join(without)})" if len(without) < len(shown) else ""
        lacks += [name + where] if without else []
    return f"{what}: {'; '.join(lacks)}." if lacks else ""


def nothing_of(called: Mapping[str, str], rows: DataFrame) -> str:
    """The same of the methods of a figure of one experiment, which may not have what it shows."""
    lacks = [name for method, name in called.items() if method not in set(rows.method)]
    return f"Nothing to show of: {'; '.join(lacks)}." if lacks else ""


def seeds(rows: DataFrame, called: Mapping[str, str], spread: str = "") -> str:
    """For notes: over how many seeds, e.g. "3 seeds (MAML: 1)", and how their spread is drawn."""
    most = int(rows.seeds.max())
    of = rows.groupby("method", sort=False).seeds.unique()
    few = [f"{called[m]}: {joined(sorted(n))}" for m, n in of.items() if min(n) < most]
    return counted(most, "seed") + (f" ({'; '.join(few)})" if few else "") + spread * (most > 1)


def heading(context: Context, dataset: str, title: str) -> str:
    """The title of a dataset's panel or bars; a stand-in isn't called by the name alone."""
    return title + ("\n(stand-in)" if context.stand_in([dataset]) else "")
