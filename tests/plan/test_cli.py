"""The plan as it is printed: for people, for programs, and what overlays say in vain."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers import PARAMS

from multistep import cli
from multistep.plan import cells, params


def test_the_plan_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    demo = PARAMS.parent / "workflow" / "scales" / "demo.yaml"
    assert cli.main(["plan", str(PARAMS), str(demo)]) == 0
    shown = capsys.readouterr().out
    plan = cells.plan(params.load(PARAMS, demo))
    assert shown.startswith("scale demo, built in scales/demo on cpu")
    for cell in plan:
        assert cell.kind == "candidate" or f"{cell.experiment} " in shown
        assert cell.dataset in shown
        assert cell.method in shown
    assert f"{sum(c.kind == 'cell' for c in plan)} cells; " in shown
    assert "validation chooses inner_lr" in shown


@pytest.mark.parametrize(
    ("overlay", "words", "said"),
    [
        ("few_shot: {iterations: 10}", "", "few_shot.iterations: 10, but not for reptile ("),
        ("few_shot: {iterations: 10}", "--method maml", ""),
        ("few_shot: {iterations: 60000}", "", ""),
        ("experiments: {sgd_32: {settings: {lr: 0.02}}}", "", ""),
        (
            "methods: {reptile: {settings: {inner_steps: 3}}}",
            "",
            "inner_steps: 3, but not for rept",
        ),
        (
            "experiments: {mini_5way_1shot: {overrides: {maml: {inner_lr: 0.02}}}}",
            "",
            "0.02, but not for maml (experiments.mini_5way_1shot.choose.values: [0.1, 0.04,",
        ),
        (
            "few_shot: {iterations: 9}\nmethods: {reptile: {settings: {iterations: 8}}}",
            "--experiment 5way_1shot",
            "",
        ),
        (
            "methods: {mine: {title: Mine, algorithm: multistep, settings: {}}}",
            "",
            "methods.mine: nothing that this scale runs has it",
        ),
        (
            "families: [transfer]\nfew_shot: {iterations: 9}",
            "",
            "few_shot: nothing that this scale runs has it",
        ),
        (
            "only: [sgd_32]\nexperiments: {20way_1shot: {settings: {shots: 3}}}",
            "",
            "experiments.20way_1shot: nothing",
        ),
        (
            "experiments: {5way_1shot: {methods: [maml], measured: {methods: [maml]},"
            " overrides: {fomaml: {inner_lr: 0.1}}}}",
            "",
            "experiments.5way_1shot.overrides.fomaml: nothing",
        ),
        (
            "experiments: {5way_1shot: {methods: [maml], method_seeds: {maml: [7], fomaml: [0]}}}",
            "",
            "experiments.5way_1shot.method_seeds.fomaml: nothing",
        ),
        (
            "experiments: {mini_5way_1shot: {choose: {methods: [maml, anil_uncached]}}}",
            "",
            "experiments.mini_5way_1shot.choose.methods: anil_uncached: nothing",
        ),
        ("only: [sgd_32]\nexperiments: {20way_1shot: {family: few_shot}}", "", ""),
        ("only: [5way_1shot]\ndatasets: {bird: {title: Birds}}", "", "datasets.bird: nothing"),
    ],
)
def test_what_an_overlay_says_in_vain_is_noted(
    overlay: str, words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(overlay)
    for command in ("plan", "params"):
        assert cli.main([command, str(PARAMS), str(file), *words.split()]) == 0
        notes = [x for x in capsys.readouterr().err.splitlines() if x.startswith("note: ")]
        assert len(notes) == bool(said)
        assert said in "".join(notes)


def test_a_plan_says_how_many_seeds_each_method_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.yaml"
    methods = "methods: [maml, fomaml, multistep2], seeds: [0], method_seeds: {fomaml: [1, 2]}"
    own.write_text(f"experiments: {{5way_1shot: {{{methods}}}}}")
    assert cli.main(["plan", str(PARAMS), str(own)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"5way_1shot +omniglot +4  maml, multistep2 × 1; fomaml × 2\n", said)


def test_a_plan_can_be_asked_for_parts(capsys: pytest.CaptureFixture[str]) -> None:
    line = [str(PARAMS), "--method", "maml", "--method", "reptile", "--dataset", "miniimagenet"]
    assert cli.main(["plan", *line]) == 0
    shown = capsys.readouterr().out
    assert "mini_5way_1shot  miniimagenet      6  maml, reptile × 3; validation chooses" in shown
    assert shown.endswith("12 cells; 8 candidates for 2 choices\n")
    assert cli.main(["plan", *line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert cli.main(["params", *line]) == 0
    assert [x.split("\t")[0] for x in capsys.readouterr().out.splitlines()] == [*found["cells"]]
    assert len(found["cells"]) == 12 + 8
    assert {job["dataset"] for job in found["measurements"].values()} == {"miniimagenet"}
    assert cli.main(["plan", str(PARAMS), "--experiment", "mini_5way"]) == 2
    assert "--experiment: no experiment in the plan named 'mini_5way'" in capsys.readouterr().err


def test_cells_are_listed_as_the_command_line_takes_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["params", str(PARAMS)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line, cell in zip(lines, cells.plan(params.load(PARAMS)), strict=True):
        assert line.split("\t") == [cell.path, cell.json]
