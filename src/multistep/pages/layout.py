"""A table as lines of text without markup, which every format prints alike.

A kind of table makes them of its rows: `groups` asks it for the texts of each cell by the labels of
the lines that they stand on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multistep.pages import DataFrame
from multistep.pages.context import Context

DASH = "–"  # stands where there is no number
MINUS = "−"


class Bold(str):
    """A text that is set in bold."""

    __slots__ = ()


@dataclass(frozen=True)
class Line:
    """One line: a label and one text per column. Of the role `detail` it is set smaller."""

    label: str
    texts: Sequence[str]
    role: str = "value"


Group = Sequence[Line]  # one row of the paper with its details


@dataclass(frozen=True)
class Page:
    """Everything a table shows, in reading order."""

    title: str
    caption: str
    badge: str  # why it isn't a reproduction of the paper, or ""
    provenance: str
    training: str  # how what is shown was made
    headings: Sequence[str]
    sections: Mapping[str, Sequence[Group]]  # by heading, which may be empty
    notes: Sequence[str]
    references: Sequence[str]
    corner: str = "Method"  # over the labels
    subheadings: Sequence[Line] = ()  # more rows of the table's head

    @classmethod
    def of(
        cls,
        spec: Any,
        context: Context,
        datasets: Sequence[str],
        sources: Sequence[str] = (),
        *,
        notes: Iterable[str] = (),
        **rest: Any,
    ) -> Page:
        """A page with what its spec says; `datasets` that it shows, as the spec calls them."""
        return cls(
            title=spec.title,
            caption=spec.caption.format(data=context.titles(datasets)) + spec.remark,
            badge=context.badge(datasets, sources),
            provenance=context.origin(datasets, sources),
            notes=(*notes, *spec.notes),
            **{"references": tuple(spec.references.values()), **rest},
        )


def groups(rows: DataFrame, texts: Callable[[Any], Mapping[str, str | None]]) -> list[Group]:
    """A group for each `row` of a frame of cells, in their order.

    `texts`: of a cell by the labels of its lines, None where it has nothing to say there. The first
    line is labelled with the row's title; others are left out where no cell has anything.
    """
    found: list[Group] = []
    for _, cells in rows.groupby("row", sort=False):
        said = [texts(cell) for cell in cells.itertuples()]
        group = []
        for i, label in enumerate(said[0]):
            line = [of_cell[label] for of_cell in said]
            if i == 0 or any(line):
                name, role = (cells.row_title.iloc[0], "value") if i == 0 else (label, "detail")
                group.append(Line(name, [DASH if text is None else text for text in line], role))
        found.append(group)
    return found


def grouped(what: str, texts: Iterable[tuple[str, str]]) -> str:
    """A sentence of (heading, text) pairs; headings with the same text share it."""
    found: dict[str, list[str]] = {}
    for heading, text in texts:
        found.setdefault(text, []).append(heading)
    parts = [
        f"{' and '.join([', '.join(h[:-1])] * (len(h) > 1) + h[-1:])}: {text}"
        for text, h in found.items()
    ]
    return f"{what}. {'; '.join(parts)}."


def joined(values: Iterable[Any]) -> str:
    """The differing values, joined by "or"; nothing for those that are missing."""
    return " or ".join(
        dict.fromkeys(f"{v:g}" if isinstance(v, float) else str(v) for v in values if known(v))
    )


def known(value: Any) -> bool:
    """Whether a cell of a frame has a value."""
    return value is not None and value == value


def plus_minus(value: Any, spread: Any, decimals: int = 2) -> str | None:
    """A mean ± its spread; the mean alone without one, None without a mean."""
    numbers = [value, spread] if known(spread) else [value]
    return " ± ".join(f"{x:,.{decimals}f}" for x in numbers) if known(value) else None


def printed(value: Any, spread: Any, fewest: int = 0) -> str | None:
    """A printed number with the decimals it was printed with, at least the `fewest`."""
    numbers = [float(x) for x in (value, spread) if known(x)]
    return plus_minus(value, spread, max([fewest, *(len(repr(x).split(".")[1]) for x in numbers)]))


def signed(value: Any, decimals: int = 2) -> str | None:
    """A difference, with its sign if it has one as it is printed."""
    if not known(value):
        return None
    text = f"{abs(value):,.{decimals}f}"
    return text if not float(text.replace(",", "")) else f"{MINUS if value < 0 else '+'}{text}"


def counted(number: float, what: str) -> str:
    """A whole number of things, by the name of one."""
    return f"{number:,.0f} {what}{'' if number == 1 else 's'}"


def seeds(cell: Any) -> str | None:
    """Of a cell over seeds: their standard deviation and number."""
    sd = f"sd {cell.seed_sd:.2f}, " if known(cell.seed_sd) else ""
    return f"{sd}n = {cell.n:g}" if cell.n else None
