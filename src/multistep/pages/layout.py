"""A table as lines of text without markup, which every format prints alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

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


Cell = TypeVar("Cell")


def line(
    label: str, cells: Sequence[Cell], text: Callable[[Cell], str], role: str = "value"
) -> Line:
    """A line with what `text` makes of each cell."""
    return Line(label, tuple(text(cell) for cell in cells), role)


def printed(value: float, spread: float | None, fewest: int = 0) -> str:
    """A printed number with the decimals it was printed with, at least the `fewest`."""
    numbers = [value] if spread is None else [value, spread]
    decimals = max(fewest, *(len(repr(x).partition(".")[2]) for x in numbers))
    return " ± ".join(f"{x:,.{decimals}f}" for x in numbers)


def signed(value: float, decimals: int) -> str:
    """A difference, with its sign."""
    return f"{MINUS if value < 0 else '+'}{abs(value):,.{decimals}f}"


def best(values: Sequence[float | None]) -> list[bool]:
    """Which of some numbers is the largest; all of them if several are."""
    numbers = [value for value in values if value is not None]
    return [value is not None and value == max(numbers) for value in values]


def citation_mark(reference: str) -> str:
    """The "[11]" that a reference begins with, or nothing."""
    return reference.split("]")[0] + "]" if reference.startswith("[") else ""
