"""A setting chosen by validation: candidates, the rule, and the cell that uses it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import records
from helpers import PARAMS, SMALL, prepared_dataset, small_params

from multistep import cli
from multistep.files import UserError
from multistep.job import results
from multistep.plan import cells, choose, params

CHOOSE = {
    "setting": "inner_lr",
    "values": [0.4, 0.1],
    "methods": ["maml"],
    "seeds": [0],
    "settings": {"iterations": 8},
}


def plan(**more: Any) -> params.Params:
    base = params.merge(params.read(PARAMS), SMALL)
    experiment = {"choose": CHOOSE, "settings": {"meta_batch": 2}, **more}
    return params.validate(params.merge(base, {"experiments": {"5way_1shot": experiment}}))


def candidate(value: float, accuracy: float | None, seed: int = 0) -> dict[str, Any]:
    best = None
    if accuracy is not None:
        best = {"iteration": 1, "validation_accuracy": accuracy, "validation_ci95": 1.0}
    return {
        "cell": {"settings": {"inner_lr": value}, "seed": seed},
        "metrics": {"best": best, "diverged": None if best else "iteration 1: not finite"},
    }


def test_the_best_on_validation_classes_is_chosen() -> None:
    found = choose.choose("inner_lr", [candidate(0.1, 40.0), candidate(0.4, 41.0)])
    assert found["value"] == 0.4
    assert [c["validation_accuracy"] for c in found["candidates"]] == [40.0, 41.0]


def test_equals_and_divergence() -> None:
    assert choose.choose("inner_lr", [candidate(0.4, 40.0), candidate(0.1, 40.0)])["value"] == 0.1
    assert choose.choose("inner_lr", [candidate(0.4, None), candidate(0.1, 20.0)])["value"] == 0.1
    half = [candidate(0.4, 90.0), candidate(0.4, None, 1), candidate(0.1, 20.0)]
    assert choose.choose("inner_lr", half)["value"] == 0.1
    with pytest.raises(UserError, match=r"every candidate of 0\.1, 0\.4 diverged"):
        choose.choose("inner_lr", [candidate(0.4, None), candidate(0.1, None)])


def test_candidates_are_cells_of_the_plan() -> None:
    p = plan()
    everything = {cell.path: cell for cell in cells.plan(p)}
    path = "results/choices/5way_1shot/omniglot/maml.json"
    setting, candidates = cells.choices(p)[path]
    assert setting == "inner_lr"
    assert [c.path for c in candidates] == [
        "results/5way_1shot-inner_lr-0.4/omniglot/maml/0.json",
        "results/5way_1shot-inner_lr-0.1/omniglot/maml/0.json",
    ]
    for cell, value in zip(candidates, (0.4, 0.1), strict=True):
        assert everything[cell.path] == cell
        settings = json.loads(cell.settings)
        assert (settings["inner_lr"], settings["iterations"]) == (value, 8)
        assert cell.kind == "candidate"
        assert not {"test_episodes", "selection"} & settings.keys()
    final = everything["results/5way_1shot/omniglot/maml/1.json"]
    assert final.choice == path
    assert "inner_lr" not in json.loads(final.settings)
    other = everything["results/5way_1shot/omniglot/fomaml/1.json"]
    assert other.choice is None


def test_mistakes_are_refused_before_any_job() -> None:
    for change, value, message in (
        ("setting", "inner_rate", r"choose\.inner_rate: unknown key; did you mean 'inner_lr'"),
        ("methods", ["mamml"], r"choose\.methods: no method named 'mamml'; did you mean 'maml'"),
        ("settings", {"hold_out_validation": False}, "candidates need validation classes"),
        ("values", [0.1, 0.1], r"values: 0\.1 stands there more than once"),
    ):
        with pytest.raises(UserError, match=message):
            plan(choose={**CHOOSE, change: value})
    for setting in ("ways", "validate_every"):
        with pytest.raises(UserError, match=rf"choose\.setting: .* other {setting} can't be comp"):
            plan(choose={**CHOOSE, "setting": setting, "values": [4, 8]})
    with pytest.raises(UserError, match=r"overrides\.maml\.inner_steps: 5 steps are not divisible"):
        plan(overrides={"maml": {"inner_steps": 5, "window": 2}})
    with pytest.raises(UserError, match="best needs validation classes"):
        small_params(hold_out_validation=False, selection="best")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"log_every": 3}, r"few_shot\.validate_every: 8 is not .*\.choose\.settings\.log_every=3"),
        ({"inner_steps": 5, "window": 2}, r"1shot\.choose\.settings\.inner_steps: 5 steps are not"),
        ({"validate_every": 12}, "validate_every is 12, but a candidate has only 8 iterations"),
        ({"test_episodes": 600}, r"settings\.test_episodes: 600, but no candidate is tested"),
        ({"selection": "last"}, r"settings\.selection: last, but no candidate is tested"),
    ],
)
def test_candidates_have_to_be_possible_too(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        plan(choose={**CHOOSE, "settings": {"iterations": 8, **settings}})
    assert len(str(error.value).splitlines()) == 2


def test_a_whole_number_can_be_chosen() -> None:
    p = plan(choose={**CHOOSE, "setting": "meta_batch", "values": [2, 4]})
    setting, candidates = cells.choices(p)["results/choices/5way_1shot/omniglot/maml.json"]
    found = [(c.experiment, json.loads(c.settings)[setting]) for c in candidates]
    assert found == [("5way_1shot-meta_batch-2", 2), ("5way_1shot-meta_batch-4", 4)]
    with pytest.raises(UserError, match=r"choose.meta_batch: input should be a valid integer"):
        plan(choose={**CHOOSE, "setting": "meta_batch", "values": [2.5]})


def test_settings_of_candidates_are_merged_key_by_key() -> None:
    p = plan(choose={**CHOOSE, "settings": {"network": {"filters": 4}}})
    path = "results/choices/5way_1shot/omniglot/maml.json"
    network = json.loads(cells.choices(p)[path][1][0].settings)["network"]
    assert (network["filters"], network["geometry"]) == (4, "strided")


def test_overrides_are_the_last_layer() -> None:
    p = plan(overrides={"maml": {"inner_steps": 6}})
    found = {m: params.cell_settings(p, "5way_1shot", m) for m in ("maml", "fomaml")}
    assert {m: s.inner_steps for m, s in found.items()} == {"maml": 6, "fomaml": 4}


def test_from_candidates_to_the_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line as the rules call it, on a made-up dataset."""
    monkeypatch.chdir(tmp_path)
    data = prepared_dataset(tmp_path / "data")
    everything = {cell.path: cell for cell in cells.plan(plan())}
    path = "results/choices/5way_1shot/omniglot/maml.json"
    setting, candidates = cells.choices(plan())[path]
    waits = everything["results/5way_1shot/omniglot/maml/1.json"]

    def train(cell: cells.Cell, *more: str) -> dict[str, Any]:
        arguments = ["train", "--cell", cell.json, "--data", str(data), "--device", "cpu"]
        assert cli.main([*arguments, "--out", cell.path, *more]) == 0
        return results.read(Path(cell.path))

    found = [train(cell) for cell in candidates]
    for record in found:
        assert set(record["metrics"]) == {"best", "diverged"}, "a candidate saw the test classes"
    line = ["choose", "--setting", setting, "--out", path, *(c.path for c in candidates)]
    right = choose.definition(setting, [cell.definition for cell in candidates])
    settings = {**right["cell"]["settings"], "iterations": 9}
    for wrong in (
        [],
        {**right, "values": [0.1]},
        {**right, "cell": {}},
        {**right, "cell": {**right["cell"], "settings": settings}},
    ):
        assert cli.main([*line, "--choice-of", json.dumps(wrong)]) == 2, "not those of the plan"
    assert cli.main([*line, "--choice-of", json.dumps(right)]) == 0
    choice = json.loads(Path(path).read_text())
    best = max(found, key=lambda record: record["metrics"]["best"]["validation_accuracy"])
    assert choice["value"] == best["cell"]["settings"]["inner_lr"]
    final = train(waits, "--choice", path)
    assert final["cell"]["settings"]["inner_lr"] == choice["value"]
    for key in ("setting", "value", "rule", "candidates"):
        assert final["cell"]["chosen"][key] == choice[key]
    assert cli.main([*line[:5], waits.path]) == 2, "no candidate"
    assert cli.main([*line[:2], "shots", *line[3:]]) == 2, "another task"
    elsewhere = "of results that aren't at hand; compared where they are"
    free = ("made_from.candidates.*", "candidates.*.validation_accuracy")
    edits = records.Edits({"rule": "text", **dict.fromkeys(free, elsewhere)})
    edits.refused(Path(path), lambda: results.read_choice(Path(path), right))
    edits.done()
    # The cell of another choice is told it before it trains.
    line = ["train", "--cell", waits.json, "--data", str(data), "--choice", path, "--choice-of"]
    for key, value in (
        ("seeds", [1]),
        ("values", [0.1]),
        ("cell", {**right["cell"], "method": "a"}),
    ):
        assert cli.main([*line, json.dumps({**right, key: value})]) == 2
        assert re.search(rf"{path}: {key}[.a-z]* is .* but the plan says", capsys.readouterr().err)


def test_what_are_not_candidates_of_one_choice_is_told() -> None:
    path = "results/choices/5way_1shot/omniglot/maml.json"
    of = plan(choose={**CHOOSE, "seeds": [0, 1]})
    setting, found = cells.choices(of)[path]
    each = [cell.definition for cell in found]
    assert choose.definition(setting, each)["seeds"] == [0, 1]
    other = {**each[1], "settings": {**each[1]["settings"], "meta_batch": 3}}
    with pytest.raises(UserError, match=r"not candidates of one choice: .*meta_batch is 3 and 2"):
        choose.definition(setting, [each[0], other, *each[2:]])
    wrong = r"inner_lr: not each of \[0\.1, 0\.4\] with each of the seeds \[0, 1\], once"
    for some in (each[:-1], [*each, each[0]], [*each[:-1], each[0]]):
        with pytest.raises(UserError, match=wrong):
            choose.definition(setting, some)
    with pytest.raises(UserError, match="inner_rate: no number in the settings of "):
        choose.definition("inner_rate", each)
    with pytest.raises(UserError, match=r"^ways: "):
        choose.definition("ways", each)


def test_a_choice_of_a_thousand_fits_a_command_line() -> None:
    seeds, values = list(range(40)), [n / 100 for n in range(1, 26)]
    path = "results/choices/5way_1shot/omniglot/maml.json"
    setting, found = cells.choices(plan(choose={**CHOOSE, "values": values, "seeds": seeds}))[path]
    right = choose.definition(setting, [cell.definition for cell in found])
    assert {Path(cell.path): cell.definition for cell in found} == choose.candidates_of(right)
    line = f"{json.dumps(right)} {' '.join(cell.path for cell in found)}"
    assert len(line) < 100_000  # of 131,072, which the shell's one argument may have


def test_a_diverged_candidate_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = prepared_dataset(tmp_path / "data")
    p = plan(choose={**CHOOSE, "values": [1e30]})
    _, (cell,) = cells.choices(p)["results/choices/5way_1shot/omniglot/maml.json"]
    arguments = ["train", "--cell", cell.json, "--data", str(data), "--device", "cpu"]
    assert cli.main([*arguments, "--out", "r.json"]) == 0
    metrics = results.read(Path("r.json"))["metrics"]
    assert metrics["best"] is None
    assert "diverged" in metrics["diverged"]
