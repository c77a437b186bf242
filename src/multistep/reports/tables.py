"""Tables: from results to rows by the table's query, and from rows to csv, md, tex and html."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from multistep.files import write_text
from multistep.reports import accuracy, formats, html, layout
from multistep.reports.accuracy import Row
from multistep.reports.query import Result, tidy
from multistep.reports.spec import Context
from multistep.schema import Table


def table(spec: Table, context: Context, results: Sequence[Result]) -> list[Row]:
    """The rows of a table, one per cell; see `accuracy.rows` for what is refused."""
    return accuracy.rows(spec, context, results)


def write_table(
    prefix: Path, spec: Table, context: Context, results: Sequence[Result]
) -> list[Path]:
    """Write `<prefix>.csv`, `.md`, `.tex` and `.html`, each whole or not at all."""
    rows = table(spec, context, results)
    page = layout.page(spec, context, rows)
    texts = {
        ".csv": tidy(Row, rows),
        ".md": formats.markdown(page),
        ".tex": formats.latex(page),
        ".html": html.document(page),
    }
    paths = []
    for suffix, text in texts.items():
        path = prefix.with_name(prefix.name + suffix)
        write_text(path, text)
        paths.append(path)
    return paths
