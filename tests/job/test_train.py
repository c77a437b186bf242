"""One cell from seed to result: the command line, bits, kill -9, schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import prepared_dataset, small_cell, stable
from safetensors.numpy import save_file

from multistep import cli, seal
from multistep.files import read_json, write_json
from multistep.job import device, loop, results


def arguments(cell: str, folder: Path) -> list[str]:
    data = str(folder / "data")
    out, scratch = str(folder / "result.json"), str(folder / "scratch" / "cell.pt")
    options = ["--cell", cell, "--data", data, "--out", out, "--checkpoint", scratch]
    return ["train", *options, "--device", "cpu", "--checkpoint-seconds", "0"]


def train(cell: str, folder: Path) -> dict[str, Any]:
    prepared_dataset(folder / "data")
    assert cli.main(arguments(cell, folder)) == 0
    return results.read(folder / "result.json")


def test_a_cell_is_the_same_to_the_last_bit_and_its_result_is_complete(tmp_path: Path) -> None:
    cell = small_cell("multistep2").json
    first, second = train(cell, tmp_path / "a"), train(cell, tmp_path / "b")
    assert stable(first) == stable(second)
    assert first["cell"] == json.loads(cell)
    assert [e["iteration"] for e in first["history"]] == [4, 8, 12]
    assert [e["validation_accuracy"] is None for e in first["history"]] == [True, False, False]
    assert len(first["metrics"]["episode_accuracies"]) == 10
    assert first["metrics"]["exact_adaptation"] is not None
    assert len(first["timing"]["history_seconds"]) == 3
    assert first["environment"]["device"] == "cpu"
    assert first["environment"]["threads"] == 1
    other = train(small_cell("multistep2", seed=1).json, tmp_path / "c")
    assert stable(other) != stable(first)


def test_commit_and_code_are_those_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_the_end = loop.to_the_end

    def meanwhile(*arguments: Any) -> dict[str, Any]:
        monkeypatch.setattr(device, "_git", lambda: ("later", True))
        return to_the_end(*arguments)

    monkeypatch.setattr(device, "_git", lambda: ("begun", False))
    monkeypatch.setattr(loop, "to_the_end", meanwhile)
    environment = train(small_cell().json, tmp_path)["environment"]
    assert (environment["commit"], environment["dirty"]) == ("begun", False)


def test_training_on_all_classes_when_none_is_held_out(tmp_path: Path) -> None:
    record = train(small_cell(hold_out_validation=False).json, tmp_path)
    assert all(e["validation_accuracy"] is None for e in record["history"])
    held_out = train(small_cell().json, tmp_path / "b")
    losses, others = ([e["train_loss"] for e in r["history"]] for r in (record, held_out))
    assert losses != others  # the validation classes are among those trained on


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": "{"}, "--cell: not valid JSON"),
        ({"cell": "{}"}, "--cell: scale: Field required"),
        ({"cell": small_cell().json.replace("inner_lr", "inner_rl")}, "inner_rl"),
        ({"cell": small_cell().json.replace('"settings"', '"setings"')}, "settings"),
        ({"cell": small_cell().json.replace("few_shot", "fewshot")}, "no family named 'fewshot'"),
        ({"data": "absent"}, "no such file; build it first"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, change: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared_dataset(tmp_path / "data")
    line = arguments(change.get("cell", small_cell().json), tmp_path)
    if "data" in change:
        line[line.index("--data") + 1] = str(tmp_path / change["data"])
    assert cli.main(line) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inner_steps": 5, "window": 2}, "inner_steps: 5 steps are not divisible by window=2"),
        ({"test_steps": 5, "window": 2}, "test_steps: 5 steps are not divisible by window=2"),
        ({"validate_every": 6}, "validate_every: 6 is not a multiple of log_every=4"),
        ({"selection": "best", "hold_out_validation": False}, "selection: best needs validation"),
    ],
)
def test_settings_that_clash_are_told_before_training(
    tmp_path: Path, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by the plan, which a cell that is given as JSON hasn't met."""
    cell = json.loads(small_cell().json)
    cell["settings"] |= changes
    assert cli.main(arguments(json.dumps(cell), tmp_path)) == 2
    assert f"error: --cell: settings.{message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ways": 40}, "ways: 40 ways, but omniglot has 30 train classes"),
        ({"queries": 40}, "queries: 40 queries + 1 shots exceed the 20 images of a train class"),
        (
            {"ways": 41, "hold_out_validation": False, "selection": "last"},
            "ways: 41 ways, but omniglot has 40 train classes",
        ),
    ],
)
def test_settings_that_do_not_fit_the_data_are_told_before_these_are_read(
    tmp_path: Path, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = json.loads(small_cell().json)
    cell["settings"] |= changes
    prepared_dataset(tmp_path / "data")
    (tmp_path / "data" / "images.npy").unlink()
    assert cli.main(arguments(json.dumps(cell), tmp_path)) == 2
    assert f"error: --cell: settings.{message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about["made_from"]["dataset"]["prepare"].update(size=8),
         "the images of omniglot are of 8, of which nothing is left after four blocks"),
        (lambda about: about["splits"].update(train=[[0, 605]], validation=[[605, 800]]),
         "a class of omniglot stands in two parts"),
        (lambda about: about.update(shapes=[[8, 9]] * 1200),
         "the images of omniglot are of several sizes"),
    ],
)  # fmt: skip
def test_data_that_episodes_can_not_be_drawn_from_are_told_before_they_are_read(
    tmp_path: Path, change: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = prepared_dataset(tmp_path / "data") / "dataset.json"
    about = read_json(path)
    change(about)
    write_json(path, seal.seal(about, about["made_from"]))
    path.with_name("images.npy").unlink()
    cell = json.loads(small_cell().json)
    cell["data"] = about["made_from"]["dataset"]["prepare"]
    cell["settings"]["network"]["geometry"] = "valid"
    assert cli.main(arguments(json.dumps(cell), tmp_path)) == 2
    assert f"error: --cell: dataset: {message}" in capsys.readouterr().err


def waiting() -> str:
    """A cell whose inner learning rate is left to a choice."""
    cell = json.loads(small_cell().json)
    del cell["settings"]["inner_lr"]
    return json.dumps(cell)


def test_a_cell_that_waits_for_a_choice_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments(waiting(), tmp_path)) == 2
    said = capsys.readouterr().err
    assert "--cell: settings.inner_lr is missing" in said
    assert "--choice results/choices/5way_1shot/omniglot/maml.json" in said
    assert said.count("\n") == 1


FOR = {key: value for key, value in json.loads(waiting()).items() if key not in ("kind", "seed")}
CHOICE = {
    "schema": 2,
    "cell": FOR,
    "seeds": [0],
    "setting": "inner_lr",
    "value": 0.4,
    "rule": "the best",
    "candidates": [
        {"value": 0.1, "validation_accuracy": 50.0, "seeds": 1},
        {"value": 0.4, "validation_accuracy": 60.0, "seeds": 1},
        {"value": 0.8, "validation_accuracy": None, "seeds": 1},
    ],
}
SEALS = ["1" * 64, "2" * 64, "3" * 64]


def test_a_choice_is_part_of_the_cell_and_named_by_its_seal(tmp_path: Path) -> None:
    choice = tmp_path / "maml.json"
    sealed = seal.seal(CHOICE, {"candidates": SEALS})
    write_json(choice, sealed)
    prepared_dataset(tmp_path / "data")
    assert cli.main([*arguments(waiting(), tmp_path), "--choice", str(choice)]) == 0
    record = results.read(tmp_path / "result.json")
    assert record["cell"]["settings"]["inner_lr"] == 0.4
    assert record["made_from"]["choice"] == sealed["seal"]
    results.read(tmp_path / "result.json", results.Expected(json.loads(waiting()), choice=sealed))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "no such file; build it first"),
        ("{", "not valid JSON"),
        (CHOICE, "it has no seal"),
        ({"value": 0.1}, "not a choice (Value error, 0.1 isn't the best of its candidates)"),
        ({"candidates": CHOICE["candidates"][::-1]}, "not a choice (Value error, its candidates"),
        ({"setting": "inner_rate"}, "the cell has no setting inner_rate"),
        ({"cell": FOR | {"dataset": "a"}}, "made for dataset 'a', but the cell has 'omniglot'"),
        ({"cell": FOR | {"method": "fomaml"}}, "made for method 'fomaml', but the cell has 'maml'"),
        ({"seeds": [0, 1]}, "not a choice (Value error, it isn't of each candidate"),
        ({"value": "x"}, "not a choice (value: Input should be a valid number"),
        ({"when": "today"}, "not a choice (when: Extra inputs"),
    ],
    ids=str,
)
def test_a_broken_choice_is_named(
    tmp_path: Path, change: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    choice = tmp_path / "maml.json"
    if isinstance(change, str):
        choice.write_text(change)
    elif change is not None:
        sealed = seal.seal(CHOICE | change, {"candidates": SEALS})
        write_json(choice, change if change is CHOICE else sealed)
    assert cli.main([*arguments(waiting(), tmp_path), "--choice", str(choice)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {choice}: {message}")
    assert said.count("\n") == 1


@pytest.mark.fault("a finished result deleted", "written again without an iteration")
def test_an_outcome_outlives_a_result_that_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made again without an iteration, with the log of what was done."""
    made = train(small_cell().json, tmp_path)
    (tmp_path / "result.json").unlink()
    lines = capsys.readouterr().err.splitlines()
    monkeypatch.setattr(loop.Run, "train", None)
    assert train(small_cell().json, tmp_path) == made
    again = capsys.readouterr().err.splitlines()
    assert "finished before" in "".join(again)
    assert [line for line in lines if ": iteration=" in line] == again[:3]
    for file in tmp_path.glob("result.*"):
        file.unlink()
    with pytest.raises(TypeError):  # another seed is another run
        train(small_cell(seed=1).json, tmp_path)


@pytest.mark.fault(
    "disk full while a result is written", "one line; written again without an iteration"
)
def test_a_full_disk_at_the_end_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, value: Any) -> None:
        raise OSError(28, "No space left on device", str(path))

    prepared_dataset(tmp_path / "data")
    with monkeypatch.context() as patch:
        patch.setattr(results, "write_json", full)
        assert cli.main(arguments(small_cell().json, tmp_path)) == 2
    assert f"error: {tmp_path}/result.json: No space left" in capsys.readouterr().err
    monkeypatch.setattr(loop.Run, "train", None)
    assert cli.main(arguments(small_cell().json, tmp_path)) == 0


@pytest.mark.fault("an output that can not be written", "one line before training")
@pytest.mark.parametrize("option", ["--out", "--checkpoint"])
def test_what_cannot_be_written_is_found_before_training(
    tmp_path: Path,
    option: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    record_property: Any,
) -> None:
    prepared_dataset(tmp_path / "data")
    monkeypatch.setattr(loop.Run, "train", None)
    (tmp_path / "file").touch()
    (tmp_path / "a.json").mkdir()
    for name, reason in (("file/0.json", "Not a directory"), ("a.json", "it is a folder")):
        line = arguments(small_cell().json, tmp_path)
        line[line.index(option) + 1] = str(tmp_path / name)
        assert cli.main(line) == 2
        said = capsys.readouterr().err
        assert f"{name}: can't be written ({reason}); mend that" in said
        assert said.count("\n") == 1
    record_property("injected", 2)


def test_weights_of_others_beside_the_result_are_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "result.safetensors"
    save_file({"mine": np.ones(3)}, weights)
    before = weights.read_bytes()
    assert cli.main(arguments(small_cell().json, tmp_path)) == 2
    assert f"error: {weights}: in the way, and no parameters of a cell; move it" in (
        capsys.readouterr().err
    )
    assert weights.read_bytes() == before


def test_another_cell_s_result_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of its own is: settings and code change, and then it is made anew. That is told."""
    train(small_cell().json, tmp_path)
    assert "there already" not in capsys.readouterr().err
    files = [tmp_path / f"result.{end}" for end in ("json", "safetensors")]
    before = [file.read_bytes() for file in files]
    other_scale = json.dumps(json.loads(small_cell().json) | {"scale": "other"})
    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "train", None)
        for cell, told in (
            (small_cell(seed=1).json, "of seed 0, not 1"),
            (small_cell("fomaml").json, "of method 'maml', not 'fomaml'"),
            (other_scale, "not 'other'"),
        ):
            assert cli.main(arguments(cell, tmp_path)) == 2
            said = capsys.readouterr().err
            assert said.startswith(f"error: {files[0]}: in the way, of ")
            assert f"{told}; move it away, or name another place\n" in said
        files[0].unlink()  # its parameters alone
        assert cli.main(arguments(small_cell(seed=1).json, tmp_path)) == 2
        assert f"error: {files[1]}: in the way, of seed 0" in capsys.readouterr().err
    files[0].write_bytes(before[0])
    assert [file.read_bytes() for file in files] == before
    assert train(small_cell(inner_lr=0.1).json, tmp_path)["cell"]["settings"]["inner_lr"] == 0.1
    assert f"{files[0]}: a result is there already; what is made" in capsys.readouterr().err


def test_a_result_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would be set aside as a damaged one."""
    (result := tmp_path / "1.json").write_text("{}")
    prepared_dataset(tmp_path / "data")
    line = arguments(small_cell().json, tmp_path)
    line[line.index("--checkpoint") + 1] = str(result)
    assert cli.main(line) == 2
    assert f"error: {result}: a checkpoint ends in .pt; what else" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.json", "data"]


def test_without_cuda_the_message_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared_dataset(tmp_path / "data")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    line = [a if a != "cpu" else "cuda" for a in arguments(small_cell().json, tmp_path)]
    assert cli.main(line) == 2
    said = capsys.readouterr().err
    assert "torch sees no CUDA device" in said
    assert "device: cpu" in said


def test_the_selected_iterate_is_the_one_that_is_tested(tmp_path: Path) -> None:
    few = {"iterations": 24, "validate_every": 4}
    last = train(small_cell(**few).json, tmp_path / "last")
    best = train(small_cell(selection="best", **few).json, tmp_path / "best")
    assert best["history"] == last["history"]
    validated = [e for e in best["history"] if e["validation_accuracy"] is not None]
    top = max(validated, key=lambda e: e["validation_accuracy"])
    assert top["iteration"] < 24, "choose settings under which selection matters"
    assert best["metrics"]["best"]["iteration"] == top["iteration"]
    stopped = train(small_cell(**{**few, "iterations": top["iteration"]}).json, tmp_path / "there")
    assert best["metrics"]["episode_accuracies"] == stopped["metrics"]["episode_accuracies"]
    assert best["metrics"]["last"]["test_accuracy"] == last["metrics"]["test_accuracy"]
    assert last["metrics"]["best"] is None
