"""A page's record: what the page shows, by digest; and another page than is asked for is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import page_reading
import pytest
import records

from multistep.files import UserError, read_json
from multistep.pages import record
from multistep.pages.context import Context
from multistep.pages.figures import write_figure
from multistep.pages.spec import Spec
from multistep.pages.tables import write_table

FREE = {
    "environment.*": "where it was drawn",
    "made_from.code": "the workflow compares it",
    "caption*": "it follows from what is compared",
}
CURVES = {
    "kind": "curves", "title": "Curves", "caption": "{data}", "panels": {"5way_1shot": "One"},
    "dataset": "omniglot", "methods": ["maml"],
}  # fmt: skip


@pytest.mark.fault("a field of a page's record edited", "refused by its reader")
@pytest.mark.parametrize("form", record.SUFFIXES)
def test_an_edit_of_any_field_of_a_page_s_record_is_refused(
    tmp_path: Path, spec: Spec, context: Context, results: list[Any], form: str,
    record_property: Any,
) -> None:  # fmt: skip
    if form == "figures":
        spec, results = page_reading.figure_spec(CURVES), results[:2]
    write = write_table if form == "tables" else write_figure
    *files, path = write(tmp_path / "page", spec, context, results)
    assert set(read_json(path)["files"]) == {file.suffix[1:] for file in files}
    edits = records.Edits(FREE)
    edits.refused(path, lambda: record.check(path, form, spec, context, results))
    record_property("injected", edits.done())


@pytest.mark.fault("a page beside other titles, numbers or results", "told, with what differs")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec": {"title": "Table 8"}}, "with spec.title 'Table 9', but now it is 'Table 8'"),
        ({"context": {"scale": "demo"}}, "drawn with scale 'paper', but now it is 'demo'"),
        ({"seeds": 1}, r"drawn with records\.5way_1shot/omniglot/multistep8/0 '\w+"),
        ({"columns": -1}, "drawn with rows or columns in another order"),
        ({"file": ".csv"}, r"page\.csv: it differs from its digest in page\.json"),
        ({"gone": ".html"}, r"page\.html: it is missing beside page\.json"),
    ],
)  # fmt: skip
def test_a_page_that_is_no_longer_what_is_asked_for_is_told(
    tmp_path: Path, spec: Spec, context: Context, results: list[Any], change: dict[str, Any],
    message: str,
) -> None:  # fmt: skip
    path = write_table(tmp_path / "page", spec, context, results)[-1]
    record.check(path, "tables", spec, context, results)
    for kind, value in change.items():
        if kind == "spec":
            spec = spec.model_copy(update=value)
        elif kind == "context":
            context = context.model_copy(update=value)
        elif kind == "seeds":
            results = results[: len(results) - value]
        elif kind == "columns":
            turned = dict(list(spec.columns.items())[::value])  # type: ignore[attr-defined]
            spec = spec.model_copy(update={"columns": turned})
        elif kind == "file":
            path.with_suffix(value).write_text("row\n")
        else:
            path.with_suffix(value).unlink()
    with pytest.raises(UserError, match=f"{message}.*; delete this file, and Snakemake draws"):
        record.check(path, "tables", spec, context, results)
