"""What a page reads: results that its plan expects, made from what lies beside them."""

import json
from pathlib import Path

import numpy as np
import pytest
import records
from page_records import Record

from multistep import cli, seal
from multistep.data import prepared
from multistep.files import UserError, write_json
from multistep.pages import query


def test_a_page_reads_only_what_its_plan_expects(tmp_path: Path) -> None:
    record = records.few_shot()
    file = "results/5way_1shot/patterns/maml/0.json"
    path = tmp_path / file
    write_json(path, record)
    cell = {key: value for key, value in record["cell"].items() if key != "seed"}
    name = query.record_name(file)
    plan: Record = {"cells": {name: {"cell": cell, "seeds": [[0, 1]], "evaluated": []}}}
    plan["measurements"] = {}
    assert query.read(path, plan) == query.read(path) == record
    plan["cells"][name]["seeds"] = [[1, 1]]
    with pytest.raises(UserError, match=r"0\.json: the plan has no such result for this page"):
        query.read(path, plan)
    plan["cells"][name] = {
        "cell": cell | {"settings": cell["settings"] | {"window": 4}},
        "seeds": [[0, 0]],
        "evaluated": [],
    }
    with pytest.raises(UserError, match=r"0\.json: cell.settings.window is 2, but the plan says 4"):
        query.read(path, plan)
    record["metrics"]["test_accuracy"] = 99.0
    write_json(path, record)
    with pytest.raises(UserError, match="its content differs from its seal"):
        query.read(path)


@pytest.mark.fault("a page's inputs made from other data than is there", "refused, with the digest")
@pytest.mark.parametrize(
    ("there", "message"),
    [
        ("nothing", "--spec: kind: no kind of tables named 'None'"),
        ("dataset", "made_from.dataset is 'dddd"),
        ("network", "made_from.network is 'eeee"),
        ("choice", "cell.chosen.value is 0.2, but the plan says 0.1"),
        ("another dataset", "name is 'patterns', but the plan says 'omniglot'"),
    ],
)
def test_what_a_page_shows_rests_on_what_lies_beside_it(
    tmp_path: Path, there: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    choice = records.CHOICE | {"setting": "lr"}
    scored = [choice["candidates"][0] | {"value": 0.2}]
    record, waits = records.transfer(), there == "choice"
    given = {"chosen": choice | {"value": 0.2, "candidates": scored}} if waits else {}
    settings = record["cell"]["settings"] | {"source": "net", "lr": 0.2 if waits else 0.1}
    cell = record["cell"] | {"settings": settings}
    history = [entry | {"lr": entry["lr"] * settings["lr"] / 0.1} for entry in record["history"]]
    path = tmp_path / "results/5way_1shot/patterns/maml/0.json"
    record |= {"cell": given | cell, "history": history}
    write_json(path, records.sealed(record, choice="b" * 64 if waits else None))
    if there in ("dataset", "another dataset"):
        folder = tmp_path / "data/processed" / ("omniglot" if "another" in there else "patterns")
        parts = {"train": [0], "validation": [], "test": []}
        about = {"name": "patterns", "classes": ["a"], "labels": [0], "splits": parts}
        pixels = np.zeros((1, 2, 2), np.uint8)
        prepared.save(folder, **about, shape=(2, 2), images=enumerate(pixels))
        path = folder / "dataset.json" if "another" in there else path
    elif there == "network":
        write_json(tmp_path / "data/networks/net/network.json", {"digest": "a" * 64})
    elif waits:
        del cell["settings"]["lr"]
        about = {"schema": 2, "cell": {"method": "maml"}, "seeds": [0], **choice}
        about = seal.seal(about, {"candidates": ["c" * 64]})
        write_json(tmp_path / "results/choices/5way_1shot/patterns/maml.json", about)
    planned = {key: value for key, value in cell.items() if key != "seed"}
    group = {"cell": planned, "seeds": [[0, 0]], "evaluated": []}
    plan = {
        "cells": {"5way_1shot/patterns/maml": group},
        "measurements": {},
        "prepared": {"omniglot": {}},
    }
    context = json.dumps({"scale": "tiny", "datasets": {}, "methods": {}})
    line = ["report", "table", "--name", "x", "--spec", "{}", "--context", context, "--plan"]
    assert cli.main([*line, json.dumps(plan), "--out", str(tmp_path / "x"), str(path)]) == 2
    assert message in capsys.readouterr().err
