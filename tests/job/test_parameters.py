"""Trained parameters beside their result, and runs that are lengthened."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import records
import torch
from helpers import prepared_dataset, small_cell
from safetensors.numpy import save
from transfer_data import prepared_images, small_transfer, source_folder

from multistep import cli, seal
from multistep.data import prepared
from multistep.fewshot import algorithms
from multistep.files import UserError, sha256, write_json
from multistep.job import loop, parameters, results
from multistep.networks.build import build
from multistep.networks.conv4 import Conv4
from multistep.networks.settings import Architecture
from multistep.transfer.batches import Batches, count_correct
from multistep.transfer.settings import Transfer

CPU = torch.device("cpu")
FEW = {"log_every": 3, "validate_every": 6, "selection": "best"}


def few_shot(method: str = "multistep2", **settings: Any) -> dict[str, Any]:
    cell: dict[str, Any] = json.loads(small_cell(method, **{**FEW, **settings}).json)
    return cell


def reptile(**settings: Any) -> dict[str, Any]:
    """With a constant rate and carried moments."""
    cell = few_shot("reptile")
    cell["settings"].update(meta_schedule="constant", test_steps=4, **settings)
    return cell


def train(folder: Path, cell: dict[str, Any], data: Path) -> Path:
    """The parameters' file of a cell that was trained in `folder`."""
    line = ["train", "--cell", json.dumps(cell), "--data", str(data / "data"), "--device", "cpu"]
    line += ["--out", str(folder / "0.json"), "--checkpoint", str(folder / "scratch/0.pt")]
    if cell["settings"].get("source"):
        line += ["--network", str(source_folder(data / "network"))]
    assert cli.main(line) == 0
    return parameters.beside(folder / "0.json")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few_shot")
    prepared_dataset(folder / "data")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    return train(tmp_path_factory.mktemp("trained"), few_shot(), data)


def test_identical_runs_leave_identical_files_that_say_what_they_are(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    again, cell = train(tmp_path, few_shot(), data), few_shot()
    assert trained.read_bytes() == again.read_bytes()
    record = results.read(trained.with_suffix(".json"))
    dataset = record["made_from"]["dataset"]
    about, tensors, _ = parameters.read(trained, results.Expected(cell, dataset))
    assert about["cell"] == cell
    assert about["made_from"] == record["made_from"]
    assert record["parameters"] == {"file": "0.safetensors", "digest": about["digest"]}
    settings = algorithms.create(cell["algorithm"], cell["settings"]).settings
    from multistep.fewshot import meta

    module = Conv4(meta.config(settings, **about["network"]))
    module.load_state_dict({name: torch.from_numpy(p) for name, p in tensors.items()})
    for expected in (results.Expected(cell, "a" * 64), results.Expected({**cell, "seed": 7})):
        with pytest.raises(UserError, match=r"0\.safetensors: .*(seed|dataset) is .*plan says"):
            parameters.read(trained, expected)


@pytest.mark.fault("a byte of trained parameters changed, or the file cut", "refused by its reader")
def test_a_damaged_file_is_refused(trained: Path, tmp_path: Path, record_property: Any) -> None:
    whole, path = trained.read_bytes(), tmp_path / "1.safetensors"
    places = [0, 9, 40, 200, *range(300, len(whole), len(whole) // 40), len(whole) - 1]
    flipped = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in places]
    damaged = [*flipped, *(whole[:i] for i in places), b""]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"1\.safetensors: .*delete it and build it again"):
            parameters.read(path)
    record_property("injected", len(damaged))


@pytest.mark.fault("a field of what parameters say of themselves edited", "refused by their reader")
def test_every_field_of_the_header_is_guarded_or_free(
    trained: Path, tmp_path: Path, record_property: Any
) -> None:
    about, tensors, _ = parameters.read(trained)
    header, path = tmp_path / "header.json", tmp_path / "0.safetensors"
    write_json(header, about)
    shutil.copy(trained.with_suffix(".json"), tmp_path)

    def read() -> None:
        path.write_bytes(save(tensors, {"multistep": header.read_text(encoding="utf-8")}))
        parameters.read(path)

    edits = records.Edits({"network.*": "tensors of other shapes don't fit where they are used"})
    edits.refused(header, read)
    record_property("injected", edits.done())
    forged = about | {"network": about["network"] | {"channels": 7}}
    write_json(header, seal.seal(forged, about["made_from"]))
    read()
    with pytest.raises(UserError, match=r"0\.safetensors: its tensors aren't of the network"):
        parameters.load(path)


def test_of_two_runs_neither_parameters_nor_a_candidate_s_are_taken_for_the_other_s(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    other = few_shot(iterations=6)
    del other["settings"]["test_episodes"], other["settings"]["selection"]
    path = train(tmp_path, other | {"kind": "candidate"}, data)
    assert parameters.read(path)[0]["cell"]["kind"] == "candidate"
    path.write_bytes(trained.read_bytes())
    with pytest.raises(UserError, match=r"0\.json is of other parameters; delete it and"):
        parameters.read(path)


@pytest.mark.fault("killed between parameters and result", "both written without an iteration")
@pytest.mark.parametrize("lost", ["0.json", "0.safetensors", "scratch/0.pt"])
def test_a_kill_between_parameters_and_result_leaves_nothing_wrong(
    tmp_path: Path, data: Path, trained: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of them is lost: a finished run's state makes the same again."""

    def killed(*arguments: Any) -> None:
        raise SystemExit(137)

    with monkeypatch.context() as patch:
        patch.setattr(results, "write", killed)
        with pytest.raises(SystemExit):
            train(tmp_path, few_shot(), data)
    assert not (tmp_path / "0.json").exists()
    (tmp_path / lost).unlink(missing_ok=True)
    monkeypatch.setattr(loop.Run, "step", None)
    assert train(tmp_path, few_shot(), data).read_bytes() == trained.read_bytes()
    results.read(tmp_path / "0.json")
    parameters.read(tmp_path / "0.safetensors")


@pytest.mark.parametrize("algorithm", ["bilevel", "scratch"])
def test_of_meta_transfer_the_network_of_the_reported_epoch_is_kept(
    tmp_path: Path, algorithm: str
) -> None:
    prepared_images(tmp_path / "data")
    cell = small_transfer(algorithm, epochs=4, lr=0.2)
    about, tensors, _ = parameters.read(file := train(tmp_path, cell, tmp_path))
    with pytest.raises(UserError, match=r"safetensors: test_steps: a network of meta-transfer"):
        parameters.load(file, test_steps=3)
    state = {n: torch.from_numpy(p) for n, p in tensors.items()}
    target = {n.removeprefix("target."): p for n, p in state.items() if n.startswith("target.")}
    network = build(Architecture(name="vgg9", width=4), **about["network"], generator=None)
    network.load_state_dict(target)
    images = prepared.read(tmp_path / "data", "patterns", {"size": 32})
    settings = Transfer.model_validate(small_transfer()["settings"])
    batches = Batches(images, "train", settings, CPU, 0).evaluation("test")
    with torch.no_grad():
        correct, count = count_correct(lambda x: network.eval()(x)[1], batches)
    metrics = results.read(tmp_path / "0.json")["metrics"]
    assert 100 * correct / count == metrics["test_accuracy"]
    rest = {name.partition(".")[0] for name in state} - {"target"}
    assert rest == ({"match", "meta"} if algorithm == "bilevel" else set())


@pytest.mark.parametrize("cell", [few_shot(), few_shot("anil"), reptile()])
@pytest.mark.parametrize("first", [7, 12])  # in the middle of a stretch, and at an end
def test_a_lengthened_run_equals_one_long_run(
    tmp_path: Path, data: Path, cell: dict[str, Any], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(iterations: int) -> dict[str, Any]:
        return {**cell, "settings": {**cell["settings"], "iterations": iterations}}

    steps: list[int] = []
    whole = train(tmp_path / "whole", of(20), data)
    step = loop.Run._close
    monkeypatch.setattr(loop.Run, "_close", lambda run: (steps.append(1), step(run))[1])
    train(tmp_path / "a", of(first), data)
    state = (tmp_path / "a/scratch/0.state").read_bytes()
    if first == 7:  # the result was accepted
        (tmp_path / "a/scratch/0.pt").unlink()
    longer = train(tmp_path / "a", of(20), data)
    assert len(steps) == 20 + 1  # the last stretch of the short run is closed once more
    assert longer.read_bytes() == whole.read_bytes()
    made, right = (results.read(path.with_suffix(".json")) for path in (longer, whole))
    for part in ("cell", "metrics", "history"):
        assert made[part] == right[part]
    assert len(made["timing"]["history_seconds"]) == len(right["timing"]["history_seconds"])
    assert (tmp_path / "a/scratch/0.state").read_bytes() != state
    if first == 12:  # a shorter run begins anew and leaves the longer state
        state = (tmp_path / "a/scratch/0.state").read_bytes()
        train(tmp_path / "a", of(4), data)
        assert len(steps) == 21 + 4
        assert (tmp_path / "a/scratch/0.state").read_bytes() == state


def test_a_shorter_run_that_was_stopped_leaves_the_longer_state_too(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only at its first start it looked for one."""
    train(tmp_path, few_shot(iterations=20), data)
    state = tmp_path / "scratch/0.state"
    kept, close = sha256(state), loop.Run._close

    def stop(run: loop.Run) -> None:
        close(run)
        if run.state["iteration"] == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "_close", stop)
        with pytest.raises(SystemExit):
            train(tmp_path, few_shot(iterations=12), data)
    again = train(tmp_path, few_shot(iterations=12), data)
    assert sha256(state) == kept
    assert sha256(again) == sha256(train(tmp_path / "b", few_shot(iterations=12), data))


@pytest.mark.parametrize("change", [{"inner_lr": 0.1}, {"meta_schedule": "linear"}])
def test_what_is_not_the_same_run_is_not_lengthened(
    tmp_path: Path, data: Path, change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, few_shot(iterations=6), data)
    assert "can't be lengthened" not in capsys.readouterr().err
    cell = few_shot(iterations=12)
    cell["settings"].update(change)
    train(tmp_path, cell, data)
    said = capsys.readouterr().err
    assert "resumed" not in said
    assert ("can't be lengthened later" in said) == ("meta_schedule" in change)
