"""The table of dataset sizes (Table 6), counted in the prepared datasets."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from multistep.files import UserError, digest
from multistep.pages import DataFrame, pd
from multistep.pages.context import Context
from multistep.pages.layout import Bold, Page, grouped, groups, known, plus_minus, signed
from multistep.pages.spec import Dataset, Quotation, Ref, Reference, Wants
from multistep.pages.spec import Spec as AnySpec
from multistep.pages.tables import numbers
from multistep.settings import Model

Part = Literal["train", "validation", "test", "total"]
PARTS: dict[Part, str] = {
    "train": "Training",
    "validation": "Validation",
    "test": "Test",
    "total": "Total",
}


class SplitsPaper(Model):
    source: Reference
    values: dict[Annotated[str, Ref("row", "rows")], dict[Part, int]]


class Spec(AnySpec):
    """Images of each part, counted in the prepared data."""

    rows: dict[Dataset, str]  # dataset: label
    paper: SplitsPaper | None = None
    references: dict[str, str] = {}

    def quotations(self) -> Iterator[Quotation]:
        if (paper := self.paper) is not None:
            for dataset, sizes in paper.values.items():
                for part, images in sizes.items():
                    yield Quotation(paper.source, f"images.{part}", images, dataset=dataset)

    def wants(self) -> Wants:
        return Wants(prepared=list(self.rows))


COLUMNS = "contents"
"""ours: images of a part; n: 1 if the dataset was prepared; contents: digest of its archives'."""


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> DataFrame:
    """Four cells per dataset; a dataset that was not prepared has the printed numbers alone."""
    prepared = {record["name"]: record for record in records if "splits" in record}
    found = []
    for dataset, label in spec.rows.items():
        name, about = context.used(dataset), {}
        stand_in, title = context.stand_in([dataset]), context.dataset_title(name)
        sizes: dict[str, int] = {}
        if record := prepared.get(name):
            sizes = {p: sum(b - a for a, b in runs) for p, runs in record["splits"].items()}
            about = {"n": 1, "contents": digest(record["made_from"]["archives"])}
        for part, heading in PARTS.items():
            ours = sum(sizes.values()) if part == "total" else sizes.get(part)
            names = {"row_title": title if stand_in else label, "column_title": heading}
            row = {"row": dataset, "column": part, **names, "scale": context.scale, "data": title}
            found.append(row | ({"ours": ours, "stand_in": stand_in, **about} if about else {}))
    theirs = spec.paper.values if spec.paper else {}
    printed = numbers({d: {p: [n] for p, n in of.items()} for d, of in theirs.items()})
    columns = ("ours", "n", "stand_in", "contents")
    cells = pd.DataFrame(found).merge(printed, "left")
    cells = cells.reindex(columns=dict.fromkeys([*cells.columns, *columns]))
    if prepared and not cells.n.any():
        raise UserError(f"none of the {len(prepared)} datasets belongs to {spec.title}")
    stand_in, both = cells.stand_in.eq(True), cells.ours.notna() & cells.paper.notna()
    cells["gap"] = (cells.ours.astype(float) - cells.paper).where(both & ~stand_in)
    cells["note"] = cells.gap.fillna(0).ne(0).map({True: "Differs from the paper.", False: ""})
    cells.loc[both & stand_in, "note"] = "Not compared: stand-in data."
    return cells


def page(spec: Spec, context: Context, rows: DataFrame) -> Page:
    """A row per dataset; below it the paper's numbers, and differences where there are any."""
    verdicts = []
    for dataset, label in spec.rows.items():
        cells = rows[rows.row == dataset]
        verdict = "not compared" if cells.n.any() else "not prepared"
        if cells.gap.notna().any():
            verdict = "different from the paper" if cells.gap.any() else "as the paper"
        verdicts.append((label, verdict))
    different = set(rows[rows.gap.fillna(0) != 0].row)

    def texts(c: Any) -> dict[str, str | None]:
        label = spec.rows[c.row]
        gap = Bold(signed(c.gap, 0)) if known(c.gap) and c.gap else "="
        return {
            "": plus_minus(c.ours, None, 0),
            "paper" if c.row_title == label else f"paper, {label}": plus_minus(c.paper, None, 0),
            "difference": gap if c.row in different and known(c.gap) else None,
        }

    shown = [d for d in spec.rows if rows[rows.row == d].n.any()] or list(spec.rows)
    return Page.of(
        spec,
        context,
        shown,
        training=grouped("Sizes", verdicts),
        headings=tuple(PARTS.values()),
        sections={"": groups(rows, texts)},
        corner="Dataset",
    )
