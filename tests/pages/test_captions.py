"""The captions of tables in the Snakemake report."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest

CAPTION = Path(__file__).parents[2] / "workflow" / "report" / "table.rst"


def caption(table: dict[str, Any]) -> str:
    """What the report says of a table, on one line."""
    common = {"title": "Table 9", "caption": "{data}: something", "dataset": "bird"}
    config = {
        "scale": "demo",
        "datasets": {"bird": {"title": "Birds"}, "drawn": {"title": "Drawn birds"}},
        "stand_ins": {"bird": "drawn"},
        "tables": {"t": common | table},
    }
    snakemake = SimpleNamespace(config=config, wildcards=SimpleNamespace(table="t"))
    template = jinja2.Template(CAPTION.read_text(encoding="utf-8"))
    return " ".join(template.render(snakemake=snakemake).split())


@pytest.mark.parametrize("kind", ["accuracy", "benchmark", "transfer", "epoch_time", "splits"])
def test_every_kind_of_table_has_a_caption(kind: str) -> None:
    said = caption({"kind": kind})
    begin = "Table 9: Drawn birds: something, at scale **demo**. "
    assert said.startswith(begin)
    assert len(said) > len(begin)


def test_captions_say_only_what_the_table_has() -> None:
    rescaled = {"kind": "accuracy", "paper": {"interval_n": "episodes/meta_batch"}}
    assert "as printed [half-width rescaled to its 600 episodes], and" in caption(rescaled)
    assert "number as printed, and" in caption({"kind": "accuracy", "paper": {}})
    quoted = "validation accuracy; the numbers that the paper quotes come first."
    assert caption({"kind": "transfer", "literature": {"a": {}}}).endswith(quoted)
    assert caption({"kind": "transfer"}).endswith("the best validation accuracy.")
