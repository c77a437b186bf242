"""The table of dataset sizes (Table 6), counted in the prepared datasets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from multistep.files import UserError, digest
from multistep.pages.context import Context
from multistep.pages.layout import DASH, Page, Section, grouped, line, signed
from multistep.pages.query import TidyRow
from multistep.pages.spec import Dataset, Quotation, Ref, Reference, Wants
from multistep.pages.spec import Spec as AnySpec
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


@dataclass(frozen=True)
class Row(TidyRow):
    """The number of images in a part of a dataset; `n` is 1 if the dataset was prepared."""

    note: str = ""
    contents: str = ""  # digest of the archives' contents


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> list[Row]:
    """Four cells per dataset; a dataset that was not prepared has the printed numbers alone."""
    prepared = {record["name"]: record for record in records if "splits" in record}
    found = []
    for dataset in spec.rows:
        name = context.dataset(dataset)
        about = prepared.get(name)
        found += [_row(spec, context, dataset, part, about) for part in PARTS]
    if prepared and not any(row.n for row in found):
        raise UserError(f"none of the {len(prepared)} datasets belongs to {spec.title}")
    return found


def page(spec: Spec, context: Context, rows: Sequence[Row]) -> Page:
    """A row per dataset; below it the paper's numbers, and differences where there are any."""
    blocks, verdicts = [], []
    for dataset, label in spec.rows.items():
        cells = [row for row in rows if row.row == dataset]
        verdict = "not compared" if cells[0].n else "not prepared"
        if cells[0].n and any(cell.gap is not None for cell in cells):
            differs = any(cell.gap for cell in cells)
            verdict = "different from the paper" if differs else "as the paper"
        verdicts.append((label, verdict))
        lines = [line(cells[0].row_title, cells, lambda cell: _count(cell.ours))]
        if any(cell.paper is not None for cell in cells):
            name = "paper" if cells[0].row_title == label else f"paper, {label}"
            lines.append(line(name, cells, lambda cell: _count(cell.paper), "detail"))
        if any(cell.gap for cell in cells):
            gap = line(
                "difference", cells, lambda c: "=" if c.gap == 0 else signed(c.gap, 0), "detail"
            )
            lines.append(dataclasses.replace(gap, bold=tuple(bool(c.gap) for c in cells)))
        blocks.append(tuple(lines))
    shown = [d for d in spec.rows if any(r.row == d and r.n for r in rows)] or list(spec.rows)
    return Page.of(
        spec,
        context,
        shown,
        training=grouped("Sizes", verdicts),
        headings=tuple(PARTS.values()),
        sections=(Section("", tuple(blocks)),),
        corner="Dataset",
    )


def _row(
    spec: Spec, context: Context, dataset: str, part: Part, about: dict[str, Any] | None
) -> Row:
    name = context.dataset(dataset)
    stand_in = context.is_stand_in(name)
    paper = spec.paper.values.get(dataset, {}).get(part) if spec.paper else None
    row = Row(
        dataset,
        part,
        paper=paper,
        row_title=context.dataset_title(name) if stand_in else spec.rows[dataset],
        column_title=PARTS[part],
        scale=context.scale,
        data=context.dataset_title(name),
    )
    if about is None:
        return row
    sizes = {key: sum(end - first for first, end in runs) for key, runs in about["splits"].items()}
    ours = sum(sizes.values()) if part == "total" else sizes[part]
    row = dataclasses.replace(row, ours=ours, n=1, contents=digest(about["made_from"]["archives"]))
    if paper is None:
        return row
    if stand_in:
        return dataclasses.replace(row, note="Not compared: stand-in data.")
    note = "" if ours == paper else "Differs from the paper."
    return dataclasses.replace(row, gap=ours - paper, note=note)


def _count(number: float | None) -> str:
    return DASH if number is None else f"{number:,.0f}"
