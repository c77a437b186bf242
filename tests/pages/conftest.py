"""A table that shows some made-up results, and the names around it."""

import copy
from pathlib import Path

import pytest
from page_reading import Write, table_spec
from page_records import Record, few_shot

from multistep.pages.context import Context
from multistep.pages.spec import Spec
from multistep.pages.tables import write_table

TABLE: Record = {
    "kind": "accuracy",
    "title": "Table 9",
    "caption": "{data}: accuracy (%)",
    "dataset": "omniglot",
    "columns": {"5way_1shot": "5-way 1-shot", "20way_1shot": "20-way 1-shot"},
    "methods": ["maml", "multistep8"],
    "literature": {
        "reptile_literature": {
            "title": "Reptile†",
            "source": "nichol",
            "values": {"5way_1shot": [97.68, 0.04], "20way_1shot": [89.4, 0.1]},
        }
    },
    "paper": {
        "source": "kim",
        "iterations": 60000,
        "episodes": 600,
        "meta_batch": {"5way_1shot": 32, "20way_1shot": 16},
        "interval_n": "episodes/meta_batch",
        "float16_means": True,
        "values": {
            "maml": {"5way_1shot": [50.0, 8.0], "20way_1shot": [40.0, 4.0]},
            "multistep8": {"5way_1shot": [90.0, 0.8]},
        },
    },
    "cell_notes": {"multistep8": {"5way_1shot": "Odd & rare."}},
    "notes": ["50% of a_b | <c> $d$ #e ~ ^ { } \\ [f] are escaped."],
    "references": {"kim": "Kim & Park (2020).", "nichol": "[22] Nichol (2018)."},
}


@pytest.fixture
def context() -> Context:
    return Context(
        scale="paper",
        datasets={"omniglot": "Omniglot", "omniglot_standin": "Drawn characters (stand-in)"},
        methods={
            "maml": "MAML (ours)",
            "fomaml": "FO-MAML (ours)",
            "multistep4": "Multi-step (4)",
            "multistep8": "Multi-step (8)",
        },
    )


@pytest.fixture
def stand_in(context: Context) -> Context:
    return context.model_copy(
        update={
            "scale": "demo",
            "stand_ins": {"omniglot": "omniglot_standin"},
            "drawn": ["omniglot_standin"],
        }
    )


@pytest.fixture
def table_json() -> Record:
    """The entry of an accuracy table, as params.yaml would have it."""
    return copy.deepcopy(TABLE)


@pytest.fixture
def spec(table_json: Record) -> Spec:
    return table_spec(table_json)


@pytest.fixture
def results() -> list[Record]:
    """Two seeds of MAML at 5-way and one of Multi-step (8), which has exact adaptation."""
    return [
        few_shot(seed=1, episodes=[50.0, 70.0, 50.0, 70.0]),
        few_shot(seed=0, episodes=[30.0, 50.0, 50.0, 30.0]),
        few_shot(method="multistep8", episodes=[80.0, 100.0], exact=(92.5, 3.25)),
    ]


@pytest.fixture
def write(tmp_path: Path, spec: Spec, context: Context) -> Write:
    """Write a table in all formats; returns the texts by suffix."""

    def write(
        records: list[Record], spec: Spec = spec, context: Context = context
    ) -> dict[str, str]:
        paths = write_table(tmp_path / "table9", spec, context, records)
        assert [p.name for p in paths] == [
            f"table9.{kind}" for kind in ("csv", "md", "tex", "html", "json")
        ]
        return {p.suffix[1:]: p.read_text(encoding="utf-8") for p in paths}

    return write
