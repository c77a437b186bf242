"""A table as lines of text without markup, which every format prints alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from multistep.pages.context import Context

DASH = "–"  # stands where there is no number
MINUS = "−"


@dataclass(frozen=True)
class Line:
    """One line: a label and one text per column. The role is `value` or `detail` (set smaller)."""

    label: str
    texts: tuple[str, ...]
    role: str = "value"
    bold: tuple[bool, ...] = ()  # which texts are; none if empty


@dataclass(frozen=True)
class Section:
    """Groups of lines, a group being one row of the paper with its details, and their heading."""

    heading: str  # may be empty
    groups: tuple[tuple[Line, ...], ...]


@dataclass(frozen=True)
class Page:
    """Everything a table shows, in reading order."""

    title: str
    caption: str
    provenance: str
    training: str  # how what is shown was made
    headings: tuple[str, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    references: tuple[str, ...]
    corner: str = "Method"  # over the labels
    subheadings: tuple[Line, ...] = ()  # more rows of the table's head

    @classmethod
    def of(
        cls,
        spec: Any,
        context: Context,
        datasets: Sequence[str],
        sources: Iterable[str] = (),
        *,
        notes: Iterable[str] = (),
        **rest: Any,
    ) -> Page:
        """A page with what its spec says; `datasets` that it shows, as the spec calls them."""
        return cls(
            title=spec.title,
            caption=spec.caption.format(data=context.titles(datasets)),
            provenance=context.provenance(*map(context.dataset, datasets), sources=sources),
            notes=(*notes, *spec.notes),
            **{"references": tuple(spec.references.values()), **rest},
        )


def line(label: str, cells: Sequence[Any], text: Callable[[Any], str], role: str = "value") -> Line:
    """A line with what `text` makes of each cell."""
    return Line(label, tuple(text(cell) for cell in cells), role)


def by_row(rows: Iterable[Any], section: str) -> list[list[Any]]:
    """The cells of each row of a section."""
    found: dict[str, list[Any]] = {}
    for cell in rows:
        if cell.section == section:
            found.setdefault(cell.row, []).append(cell)
    return list(found.values())


def grouped(what: str, texts: Iterable[tuple[str, str]], joint: str = ", ") -> str:
    """A sentence of (heading, text) pairs; headings with the same text share it."""
    found: dict[str, list[str]] = {}
    for heading, text in texts:
        found.setdefault(text, []).append(heading)
    return f"{what}. " + "; ".join(f"{joint.join(h)}: {text}" for text, h in found.items()) + "."


def printed(value: float | None, spread: float | None, fewest: int = 0) -> str:
    """A printed number with the decimals it was printed with, at least the `fewest`."""
    if value is None:
        return DASH
    numbers = [value] if spread is None else [value, spread]
    decimals = max(fewest, *(len(repr(x).partition(".")[2]) for x in numbers))
    return " ± ".join(f"{x:,.{decimals}f}" for x in numbers)


def seeds(cell: Any) -> str:
    """Of a cell over seeds: their standard deviation and number."""
    return ("" if cell.seed_sd is None else f"sd {cell.seed_sd:.2f}, ") + f"n = {cell.n}"


def signed(value: float | None, decimals: int) -> str:
    """A difference, with its sign."""
    return DASH if value is None else f"{MINUS if value < 0 else '+'}{abs(value):,.{decimals}f}"


def best(values: Sequence[float | None]) -> list[bool]:
    """Which of some numbers is the largest; all of them if several are."""
    numbers = [value for value in values if value is not None]
    return [value is not None and value == max(numbers) for value in values]
