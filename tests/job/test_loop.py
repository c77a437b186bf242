"""The loop of every job: what it counts and records, and that a stopped run ends as a whole one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import prepared_dataset, small_cell
from transfer_data import (
    equal_size,
    prepared_images,
    settings,
    small_transfer,
    source_folder,
    written,
)

from multistep import cli
from multistep.fewshot import run as fewshot
from multistep.files import UserError, read_json
from multistep.job import checkpoint, loop
from multistep.networks.settings import Architecture
from multistep.transfer import run as transfer
from multistep.transfer import source_training
from multistep.transfer.source_settings import SourceNetwork

CPU = torch.device("cpu")


class Halving(loop.Run):
    """x ← x/2 and a count, ten times; every third iteration ends a stretch."""

    def __init__(self) -> None:
        super().__init__("halving", "steps", 10, x=torch.tensor([1024.0]), sums={})
        self.settled = 0

    def inputs(self, begin: int) -> Iterator[int]:
        time.sleep(0.05)
        yield from super().inputs(begin)

    def step(self, given: int) -> None:
        assert given == self.state["iteration"]
        time.sleep(0.01)
        self.state["x"] /= 2
        self.state["sums"]["x"] = self.state["sums"].get("x", 0) + self.state["x"]
        if given == 20:
            raise UserError("too far")

    def due(self) -> bool:
        return bool(self.state["iteration"] % 3 == 0)

    def summary(self) -> loop.Entry:
        sums, self.state["sums"] = self.state["sums"], {}
        return {"iteration": self.state["iteration"], "sum": sums["x"].item()}

    def evaluate(self, entry: loop.Entry) -> None:
        time.sleep(0.02)
        entry["x"] = self.state["x"].item()

    def settle(self) -> None:
        self.settled += 1


class StoppedError(Exception):
    pass


class StopAt(checkpoint.Saver):
    """Saves after so many iterations, as a kill would leave it, and stops there."""

    def __init__(self, path: Path, iterations: int) -> None:
        super().__init__(path, "key", seconds=1e9)
        self.left = iterations

    @property
    def due(self) -> bool:
        self.left -= 1
        return self.left == 0

    def now(self, state: checkpoint.State) -> None:
        super().now(state)
        raise StoppedError


def never(folder: Path) -> checkpoint.Saver:
    return checkpoint.Saver(folder / "whole.pt", "key", 1e9)


def resumed(make: Any, folder: Path, iterations: int) -> Any:
    """A run that was stopped after so many iterations and went on in a new object."""
    with pytest.raises(StoppedError):
        make().train(StopAt(folder / "a.pt", iterations))
    run = make()
    outcome = {"n": run.state["iteration"]}
    assert loop.to_the_end(run, folder / "a.pt", "key", 1e9, CPU, lambda: outcome) is outcome
    return run


def test_what_the_loop_records_and_times(tmp_path: Path) -> None:
    run = Halving()
    run.train(never(tmp_path))
    assert run.history == [
        {"iteration": 3, "sum": 896.0, "x": 128.0},
        {"iteration": 6, "sum": 112.0, "x": 16.0},
        {"iteration": 9, "sum": 14.0, "x": 2.0},
    ]
    assert run.position == "iteration 10 of 10"
    timing = run.timing()
    assert 0.1 <= timing["train_seconds"] < 0.5
    assert timing["process_seconds"] < 0.05  # it slept
    assert 0.06 <= timing["evaluation_seconds"] < 0.3
    assert 0.05 <= timing["loading_seconds"] < 0.3
    assert timing["seconds_per_iteration"] == timing["train_seconds"] / 10
    for clock, total in (("", "train_seconds"), ("process_", "process_seconds")):
        until = timing[f"history_{clock}seconds"]
        assert len(until) == 3
        assert [*until, timing[total]] == sorted([*until, timing[total]])
    assert run.settled == 0  # nothing was saved


@pytest.mark.parametrize("iterations", range(1, 10))
def test_a_stopped_run_ends_as_a_whole_one(tmp_path: Path, iterations: int) -> None:
    whole = Halving()
    whole.train(never(tmp_path))
    curve = tmp_path / "a.jsonl"
    curve.write_text('{"seconds": 3}\n' * 4)  # told after the checkpoint was saved, then killed
    run = resumed(Halving, tmp_path, iterations)
    assert run.history == whole.history == [without_seconds(line) for line in lines(curve)]
    assert torch.equal(run.state["x"], whole.state["x"])
    assert run.state["sums"] == whole.state["sums"]
    saved = checkpoint.load(tmp_path / "a.pt", "key")
    assert saved is not None
    assert saved["outcome"] == {"n": 0}
    told = curve.read_bytes()
    assert loop.to_the_end(Halving(), tmp_path / "a.pt", "key", 1, CPU, dict) == {"n": 0}
    assert curve.read_bytes() == told


def lines(curve: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in curve.read_text().splitlines()]


def without_seconds(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "seconds"}


def test_the_end_is_saved_before_the_outcome_is_made(tmp_path: Path) -> None:
    def full() -> dict[str, Any]:
        raise UserError("full")

    with pytest.raises(UserError):
        loop.to_the_end(Halving(), tmp_path / "a.pt", "key", 1e9, CPU, full)
    saved = checkpoint.load(tmp_path / "a.pt", "key")
    assert saved is not None
    assert saved["iteration"] == 10


def test_a_run_can_end_before_its_time_and_a_mistake_says_where(tmp_path: Path) -> None:
    run = Halving()
    run.step = lambda given: run.state.update(stopped="enough")  # type: ignore[method-assign]
    run.train(never(tmp_path))
    assert run.state["iteration"] == 1
    run = Halving()
    run.iterations, run.state["iteration"] = 30, 20
    with pytest.raises(UserError, match=r"^halving: iteration 20 of 30: too far$"):
        run.train(never(tmp_path))


def test_a_state_is_restored_in_place() -> None:
    state = {"a": {"x": torch.zeros(2), "gone": 1}, "n": 0, "list": [1]}
    inner, x = state["a"], state["a"]["x"]  # type: ignore[index]
    saved = {"a": {"x": torch.ones(2), "new": {"y": torch.ones(1)}}, "n": 3, "list": [1, 2]}
    checkpoint.restore(state, checkpoint.copies(saved), CPU)
    assert state["a"] is inner
    assert state["a"]["x"] is x  # type: ignore[index]
    found, wanted = (json.dumps(s, default=torch.Tensor.tolist) for s in (state, saved))
    assert found == wanted


# --- the families -----------------------------------------------------------------------------

SPEC = SourceNetwork(
    title="Pictures",
    architecture=Architecture(name="resnet32", width=4, blocks=1),
    classes=4,
    train=settings(epochs=3),
)


def few_shot(folder: Path) -> Any:
    cell = json.loads(small_cell(selection="best", log_every=3, validate_every=6).json)
    return fewshot.Run(cell, prepared_dataset(folder / "data"), None, CPU)


def meta_transfer(folder: Path) -> Any:
    cell = small_transfer(inner_steps=2, window=1, optimizer="adam")
    return transfer.Run(cell, prepared_images(folder / "data"), source_folder(folder / "n"), CPU)


def source_network(folder: Path) -> Any:
    return source_training.Training("n", SPEC, equal_size(160, test=40), CPU)


@pytest.mark.fault("a run stopped after an iteration", "goes on, equal to the last bit")
@pytest.mark.parametrize(
    ("family", "iterations"),
    [
        *((few_shot, n) for n in (1, 6, 8)),
        *((meta_transfer, n) for n in (1, 4, 7)),  # 4 mini-batches an epoch
        *((source_network, n) for n in (3, 5, 6, 12)),  # 5
    ],
)
def test_every_family_resumes_to_the_same_bits(
    tmp_path: Path, family: Any, iterations: int
) -> None:
    whole = family(tmp_path)
    whole.train(never(tmp_path))
    run = resumed(lambda: family(tmp_path), tmp_path, iterations)
    assert json.dumps(run.history) == json.dumps(whole.history)
    ours, theirs = (torch.utils._pytree.tree_flatten(r.state)[0] for r in (run, whole))
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if isinstance(a, torch.Tensor)]
    assert len(pairs) > 10 or family is few_shot
    assert all(torch.equal(a, b) for a, b in pairs)
    if family is not source_network:
        assert run.test() == whole.test()


def commands(folder: Path) -> dict[str, tuple[list[str], Path]]:
    """The command line of a job of each family in `folder`, and what it makes."""
    common = ["--data", str(folder / "data"), "--checkpoint", str(folder / "scratch" / "c.pt")]
    common += ["--device", "cpu", "--checkpoint-seconds", "0"]
    few = small_cell(iterations=60, log_every=7, validate_every=14, selection="best").json
    cell = json.dumps(small_transfer("scratch", epochs=8))
    spec, out, network = SPEC.model_dump_json(), folder / "result.json", folder / "out"
    return {
        "few_shot": (["train", "--cell", few, *common, "--out", str(out)], out),
        "transfer": (["train", "--cell", cell, *common, "--out", str(out)], out),
        "source": (
            ["pretrain", "--name", "n", "--spec", spec, *common, "--out", str(network)],
            network / "weights.pt",
        ),
    }


PREPARED = {
    "few_shot": prepared_dataset,
    "transfer": prepared_images,
    "source": lambda folder: written(folder, equal_size(240, test=40)),
}


@pytest.mark.fault("a job killed (KILL, TERM, INT)", "goes on, equal to the last bit")
@pytest.mark.parametrize(
    ("family", "how"),
    [
        ("few_shot", signal.SIGKILL),
        ("few_shot", signal.SIGTERM),
        ("few_shot", signal.SIGINT),
        ("transfer", signal.SIGKILL),
        ("source", signal.SIGKILL),
    ],
)
def test_a_killed_job_goes_on_and_makes_the_same(
    tmp_path: Path, family: str, how: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    for folder in (tmp_path / "whole", tmp_path / "killed"):
        PREPARED[family](folder / "data")
        line, out = commands(folder)[family]
        if folder.name == "killed":
            process = subprocess.Popen(
                [sys.executable, "-m", "multistep.cli", *line],
                stderr=subprocess.PIPE,
                # A background process of a shell ignores SIGINT; ours must not.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
            deadline = time.monotonic() + 300
            state = folder / "scratch" / "c.pt"
            while not state.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            os.kill(process.pid, how)
            _, complaint = process.communicate(timeout=300)
            assert process.returncode == (-how if how == signal.SIGKILL else 128 + how), complaint
            assert state.exists()
            assert not out.exists()
            capsys.readouterr()
        assert cli.main(line) == 0
        made.append(stable(out))
    assert "resumed at " in capsys.readouterr().err
    assert made[0] == made[1]
    curves = [lines(tmp_path / name / "scratch" / "c.jsonl") for name in ("whole", "killed")]
    whole, killed = ([without_seconds(entry) for entry in curve] for curve in curves)
    assert whole == killed
    if out.suffix == ".json":
        recorded = read_json(out)["history"]
        pairs = zip(whole, recorded, strict=True)
        assert all(line.items() <= entry.items() for line, entry in pairs)
    out.unlink()  # lost before it was accepted
    assert cli.main(line) == 0
    assert "finished before" in capsys.readouterr().err
    assert stable(out) == made[1]


def stable(out: Path) -> Any:
    """What is the same for identical runs."""
    if out.suffix == ".pt":
        return out.read_bytes()
    record = read_json(out)
    return json.dumps([record["cell"], record["metrics"], record["history"]])


@pytest.mark.fault("a GPU fails, or is too small, while a cell trains", "it is named; what to do")
@pytest.mark.parametrize(
    ("error", "raised", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), UserError, "cell 3: CUDA out of mem"),
        (torch.AcceleratorError("CUDA error: unspecified launch failure\nx"), UserError,
         "cell 3: GPU MIG-7/1 of .* fails .*launch failure.; leave it out"),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), torch.AcceleratorError,
         "assert"),
    ],
)  # fmt: skip
def test_where_a_gpu_failed_is_said(
    monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[Exception], told: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-7/1")
    with pytest.raises(raised, match=told), loop.located("cell 3"):
        raise error


@pytest.mark.parametrize("theirs", ["mine\n", '{"iteration": 3}\n', '["seconds"]'])
def test_a_curve_is_written_over_another_curve_alone(tmp_path: Path, theirs: str) -> None:
    (curve := tmp_path / "a.jsonl").write_text(theirs)
    with pytest.raises(UserError, match=r"a\.jsonl: in the way, and no curve of a run; name"):
        loop.to_the_end(Halving(), tmp_path / "a.pt", "key", 1e9, CPU, dict)
    assert curve.read_text() == theirs
    for ours in ("", '{"iteration": 3, "su', '{"iteration": 3, "seconds": 1.0}\n'):
        curve.write_text(ours)
        loop.to_the_end(Halving(), tmp_path / "a.pt", "key", 1e9, CPU, dict)
        assert [line["iteration"] for line in lines(curve)] == [3, 6, 9]
        (tmp_path / "a.pt").unlink()
