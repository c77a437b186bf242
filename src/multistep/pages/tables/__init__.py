"""Tables: one module a kind.

It has `Spec` (what such a table says in its YAML file), `Row` (of the csv), `rows` (from records to
rows) and `page` (from rows to the page's lines); they are written as csv, md, tex and html.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multistep.files import write_text
from multistep.pages import formats, html, query, record
from multistep.pages.context import Context
from multistep.pages.spec import Spec, module


def write_table(
    prefix: Path, spec: Spec, context: Context, records: Sequence[dict[str, Any]]
) -> list[Path]:
    """Write `<prefix>.csv`, `.md`, `.tex`, `.html` and the page's record, each whole or not at all.

    `records` are results, measurements or descriptions of prepared datasets, as the kind needs.
    """
    kind = module("tables", spec.kind)
    query.check_inputs(records)
    notes = [*spec.notes, *query.remarks(spec, context, records)]
    shown = spec.model_copy(update={"notes": notes})
    rows = kind.rows(shown, context, records)
    page = kind.page(shown, context, rows)
    page = dataclasses.replace(page, caption=page.caption + spec.remark)
    texts = {
        ".csv": query.tidy([field.name for field in dataclasses.fields(kind.Row)], rows),
        ".md": formats.markdown(page),
        ".tex": formats.latex(page),
        ".html": html.document(page),
    }
    paths = [prefix.with_name(prefix.name + suffix) for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text(path, text)
    return [*paths, record.write(prefix, "tables", spec, context, records, paths)]
