"""The methods part of the benchmark: its images, what is measured, and its page."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from records import MACHINE

from bench import __main__ as command
from bench import methods, report
from bench.problem import paper, stand_in_images
from multistep.data import prepared
from multistep.fewshot.settings import FewShot
from multistep.plan.params import cell_settings, merge

EVERY = [
    "maml", "fomaml", "multistep2", "multistep4", "multistep8",
    "reptile", "imaml", "anil", "memory_reduced", "maml_replay",
]  # fmt: skip


def test_images_differ_in_every_channel_and_become_a_dataset(tmp_path: Path) -> None:
    images = stand_in_images(classes=3, per_class=4, size=21, channels=3)
    assert images.shape == (3, 4, 21, 21, 3)
    assert not torch.equal(images[..., 0], images[..., 1])
    methods.prepare(tmp_path / "colour", images)
    colour = prepared.read(tmp_path / "colour")
    assert (colour.size, colour.channels) == (21, 3)
    start, count = (int(row[2]) for row in colour.rows(["train"]))
    assert torch.equal(torch.from_numpy(colour.images)[start : start + count], images[2])
    methods.prepare(tmp_path / "grey", stand_in_images(classes=3, per_class=4))
    grey = prepared.read(tmp_path / "grey")
    assert (grey.images.shape, grey.channels) == ((12, 28, 28), 1)


def test_settings_are_the_plans_with_every_method() -> None:
    for experiment, (dataset, _) in methods.EXPERIMENTS.items():
        found = methods.definition(experiment, dataset, 3, 2)
        assert set(paper().experiments[experiment].methods) | set(EVERY) <= set(found["methods"])
        assert found["measure"] == {"steps": [8], "rounds": 3, "tasks": 2}
        for method, entry in found["methods"].items():
            s = cell_settings(paper(), experiment, method)
            assert isinstance(s, FewShot)
            # A method may have a meta-batch of its own in training; measured are all with one.
            same = {"meta_batch": found["methods"]["maml"]["settings"]["meta_batch"]}
            assert entry["settings"] == s.model_dump() | same


def test_a_part_is_measured_and_becomes_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command line, with narrow networks."""
    definition = methods.definition

    def narrow(*args: Any) -> dict[str, Any]:
        found = definition(*args)
        for entry in found["methods"].values():
            entry["settings"] = merge(entry["settings"], {"network": {"filters": 4}})
        return found

    monkeypatch.setattr(methods, "definition", narrow)
    small = {"classes": 6, "size": 16}
    shapes = {"omniglot": small, "miniimagenet": small | {"channels": 3}}
    monkeypatch.setattr(methods, "SHAPES", shapes)
    two = {e: methods.EXPERIMENTS[e] for e in ("5way_1shot", "mini_5way_1shot")}
    monkeypatch.setattr(methods, "EXPERIMENTS", two)
    line = ["bench", "--part", "methods", "--rounds", "1", "--tasks", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", line)
    command.main()
    record = json.loads((tmp_path / "methods-cpu.json").read_text(encoding="utf-8"))
    page = (tmp_path / "methods-cpu.md").read_text(encoding="utf-8")
    assert page == report.page(record)
    assert list(record["experiments"]) == list(two)
    for found in record["experiments"].values():
        assert found["tasks"] == 1
        rows = {(r["method"], r["steps"]): r for r in found["rows"]}
        for method, about in found["methods"].items():
            assert {(method, about["steps"]), (method, 8)} <= set(rows)
        assert all(len(r["seconds"]) == 1 and min(r["seconds"]) > 0 for r in rows.values())
        least = min(r["bytes"] for r in rows.values())
        assert least == rows["reptile", 8]["bytes"] < rows["maml", 8]["bytes"]
        assert rows["multistep8", 8]["bytes"] < rows["multistep2", 8]["bytes"]
    assert page.count("| MAML (ours) | 8 | 1 |") == 4
    imaml = record["experiments"]["5way_1shot"]["methods"]["imaml"]
    assert imaml["steps"] != 8
    for steps in (imaml["steps"], 8):
        assert f"| iMAML | {steps} | 1 | {imaml['cg_steps']} |" in page


def test_ratios_are_taken_round_by_round_at_the_same_and_at_own_steps() -> None:
    page = report.page(_made_up())
    own, same = page.split("All at T = 8")
    assert "| A | 8 | 1 |  | 2.000 (1.000–4.000) | 1.000 | 8.00 | 1.000 |" in own
    assert "| A | 8 | 1 |  | 2.000 (1.000–4.000) | 1.000 | 8.00 | 1.000 |" in same
    # Of the rounds 3/1, 1.5/2 and 3/4: not 3/2, which the medians would give.
    assert "| B | 16 | 1 | 5 | 3.000 (1.500–3.000) | 0.750 | 2.00 | 0.250 |" in own
    assert "| B | 16 |" not in same
    assert "| B | 8 | 1 | 5 | 1.000 (1.000–1.000) | 0.500 | 2.00 | 0.250 |" in same
    assert "relative to A," in page
    assert "Load of its 2 cores: 0.0 before, 1.0 after" in page


def test_a_gpus_numbers_are_named_as_such() -> None:
    record = _made_up()
    record["environment"] = record["environment"] | {"device": "a GPU"}
    (found,) = record["experiments"].values()
    found["unit"] = {"time": "CUDA-event seconds", "memory": "peak allocated bytes"}
    page = report.page(record)
    assert "| CUDA-event s | / exact | peak MB | / exact |" in page
    assert "captured meta-iteration" in page
    assert "on a GPU\n" in page


@pytest.mark.parametrize("wrong", [("--tasks", "0"), ("--minutes", "0"), ("--only", "(")])
def test_what_cannot_be_measured_is_refused(
    wrong: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *wrong])
    with pytest.raises(SystemExit):
        command.main()


def _made_up() -> dict[str, Any]:
    def row(method: str, steps: int, seconds: list[float], size: int) -> dict[str, Any]:
        return {"method": method, "steps": steps, "seconds": seconds, "bytes": size}

    found = {
        "tasks": 2,
        "queries": 15,
        "network": "strided",
        "filters": 64,
        "methods": {
            "maml": {"title": "A", "steps": 8, "window": 1, "cg_steps": None},
            "imaml": {"title": "B", "steps": 16, "window": 1, "cg_steps": 5},
        },
        "unit": {"time": "process seconds", "memory": "bytes saved for backward per task"},
        "rows": [
            row("maml", 8, [1.0, 2.0, 4.0], 8_000_000),
            row("imaml", 8, [1.0, 1.0, 1.0], 2_000_000),
            row("imaml", 16, [3.0, 1.5, 3.0], 2_000_000),
        ],
    }
    about = {"kind": "bench-methods", "rounds": 3, "steps": 8}
    return {**MACHINE, **about, "experiments": {"5way_1shot": found}}
