"""Pages drawn from made-up results, and readers of what they show."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from page_records import Record

from multistep.pages import figures, style
from multistep.pages.context import Context
from multistep.pages.spec import Spec, parse
from multistep.pages.tables import cells

Write = Callable[..., dict[str, str]]  # the fixture: texts of a table by suffix


def table_spec(values: Record) -> Spec:
    """What a table says, without any file or plan around it."""
    return parse("tables", values, "")


def figure_spec(values: Record) -> Spec:
    """The same for a figure."""
    return parse("figures", values, "")


def table(spec: Spec, context: Context, records: Sequence[Record]) -> list[Any]:
    """The rows of a table."""
    found = cells(spec, context, records).astype(object)
    return list(found.where(found.notna(), None).itertuples(index=False))


def drawn(spec: Spec, context: Context, records: Sequence[Record]) -> Any:
    """A figure."""
    return figures.draw(spec, context, figures.described(spec, context, records)[1])


def said(spec: Spec, context: Context, records: Sequence[Record]) -> str:
    """What stands beside a figure."""
    return figures.described(spec, context, records)[0].text


def read_csv(text: str) -> list[dict[str, str]]:
    """The rows of a page's csv."""
    return list(csv.DictReader(io.StringIO(text)))


def columns(rows: Any, *keys: str) -> list[tuple[Any, ...]]:
    """The values of some columns of a csv or a frame."""
    found = rows if isinstance(rows, list) else rows.to_dict("records")
    return [tuple(row[key] for key in keys) for row in found]


def written(
    path: Path, spec: Spec, context: Context, records: Sequence[Record]
) -> list[dict[str, str]]:
    """The csv of a figure, written with the rest."""
    paths = figures.write_figure(path / "figure", spec, context, records)
    assert [p.suffix for p in paths] == [".svg", ".png", ".pdf", ".csv", ".json"]
    assert all(p.stat().st_size > 1000 for p in paths[:3])
    return read_csv(paths[3].read_text(encoding="utf-8"))


def empty(path: Path, values: Record, context: Context) -> None:
    """Refuse a figure that is something without records."""
    assert written(path, figure_spec(values), context, []) == []
    assert "nothing to show yet" in texts(drawn(figure_spec(values), context, []))


def near(points: list[list[float]]) -> Any:
    """Points of a line."""
    return pytest.approx(np.array(points, dtype=float))


def phrases(text: str, *parts: str) -> None:
    """Refuse a text without one of these."""
    for part in parts:
        assert part in text


def texts(figure: Any) -> str:
    """Every text in a picture, all of them in a size that can be read."""
    figure.draw_without_rendering()
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    assert min(text.get_fontsize() for text in found) >= style.SMALL == 7
    return "\n".join(text.get_text() for text in found)


class Outline(HTMLParser):
    """The scopes of a page's header cells; every element must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scopes: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        if tag == "th":
            self.scopes.append(dict(attrs).get("scope"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def plain(text: str) -> str:
    """A page in Markdown without small print, indents and escapes."""
    return re.sub(r"</?sub>|&emsp;|\\(?=[\[\]_|])", "", text)
