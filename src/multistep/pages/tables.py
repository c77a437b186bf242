"""Tables: from results to rows by the table's query, and from rows to csv, md, tex and html."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multistep.files import write_text
from multistep.pages import (
    accuracy,
    accuracy_page,
    benchmark,
    benchmark_page,
    epoch_time,
    formats,
    html,
    splits,
    transfer,
)
from multistep.pages.kinds import Table
from multistep.pages.query import TidyRow, tidy
from multistep.pages.spec import Context

# kind: the dataclass of its rows, from records to rows, from rows to a page
_KINDS: dict[str, tuple[type[TidyRow], Any, Any]] = {
    "accuracy": (accuracy.Row, accuracy.rows, accuracy_page.page),
    "benchmark": (benchmark.Row, benchmark.rows, benchmark_page.page),
    "transfer": (transfer.Row, transfer.rows, transfer.page),
    "epoch_time": (epoch_time.Row, epoch_time.rows, epoch_time.page),
    "splits": (splits.Row, splits.rows, splits.page),
}


def table(spec: Table, context: Context, records: Sequence[dict[str, Any]]) -> list[Any]:
    """The rows of a table, one per cell; see `query` for what is refused."""
    return _KINDS[spec.kind][1](spec, context, records)


def write_table(
    prefix: Path, spec: Table, context: Context, records: Sequence[dict[str, Any]]
) -> list[Path]:
    """Write `<prefix>.csv`, `.md`, `.tex` and `.html`, each whole or not at all.

    `records` are results, measurements or descriptions of prepared datasets, as the kind needs.
    """
    row, _, arrange = _KINDS[spec.kind]
    rows = table(spec, context, records)
    page = arrange(spec, context, rows)
    page = dataclasses.replace(page, caption=page.caption + spec.remark)
    texts = {
        ".csv": tidy(row, rows),
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
