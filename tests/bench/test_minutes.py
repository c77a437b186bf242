"""The script that has a device for minutes: what it does, in which order, and what it leaves."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import report
from bench.minutes import cells, checks, run, worker
from bench.minutes.stage import SIZES, Stage
from bench.problem import ROOT
from multistep.job import device

CPU = torch.device("cpu")


class Here:
    """A worker in this process; `begun` counts them."""

    begun = 0

    def __init__(self, name: str, threads: int) -> None:
        self.stage, self.closed = Stage(CPU, SIZES[name]), False
        type(self).begun += 1

    def answer(self, deadline: float) -> dict[str, Any]:
        return {"environment": device.environment(CPU, 1), "identity": ["here"]}

    def ask(self, part: str, step: str, deadline: float) -> dict[str, Any]:
        found = worker.run(run.steps()[part][step], self.stage)
        self.closed = "fatal" in found
        return found

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def scale(tmp_path_factory: pytest.TempPathFactory) -> cells.Scale:
    """The demo in a folder of its own, with its drawn characters."""
    made = cells.Scale(tmp_path_factory.mktemp("project"), "demo", None)
    made.set_up()
    made.prepare("omniglot_standin")
    return made


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.gc, "collect", lambda: 0)  # slow among pytest's many objects


def minutes(folder: Path, number: float = 10.0, **more: Any) -> run.Minutes:
    own = cells.Scale(folder / "project", "demo", None)
    return run.Minutes("cpu", number, folder, own, 1, **{"begin": Here, **more})


def command(folder: Path, only: str, project: Path | None = None) -> list[str]:
    given = ["--out", str(folder), "--project", str(project or folder), "--only", only]
    return [sys.executable, "-m", "bench", "--device", "cpu", "--minutes", "90", *given]


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "minutes-cpu.json").read_text(encoding="utf-8"))
    return found


def test_a_killed_run_goes_on_and_trains_cells(tmp_path: Path, scale: cells.Scale) -> None:
    """As a user has it, in processes, with `multistep train`."""
    only = "5way_1shot/fomaml/(captured|float64)|sgd_32/scratch$|5way_1shot/.*_standin/fomaml/0"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    options: dict[str, Any] = {"env": environment, "cwd": ROOT, "text": True}
    line = command(tmp_path, only, scale.project)
    file = tmp_path / "minutes-cpu.json"
    running = subprocess.Popen(line, stderr=subprocess.DEVNULL, **options)
    while not (file.exists() and read(tmp_path)["parts"]["checks"]):
        assert running.poll() is None
        time.sleep(0.05)
    running.kill()
    running.wait()
    (first,) = itertools.islice(read(tmp_path)["parts"]["checks"].items(), 1)
    assert first[1]["ok"] is True
    done = subprocess.run(line, check=True, capture_output=True, **options)
    assert f"checks/{first[0]}:" not in done.stderr  # not a second time
    record = read(tmp_path)
    assert record["parts"]["checks"][first[0]] == first[1]
    rates, trained = record["parts"]["rates"], record["cells"]
    assert rates["5way_1shot/fomaml/captured"]["per_second"] > 0
    assert record["parts"]["transfer"]["sgd_32/scratch"]["per_second"] > 0
    path = "results/5way_1shot/omniglot_standin/fomaml/0.json"
    assert list(trained) == [path]
    assert (trained[path]["iteration"], "accuracy" in trained[path]) == (12, True)
    assert (scale.home / path).exists()
    page = (tmp_path / "minutes-cpu.md").read_text(encoding="utf-8")
    assert page == report.page(record)
    assert done.stdout.strip() == page.strip()


def test_a_check_that_fails_is_named_and_stops_what_rests_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "FLOAT64", -1.0)
    monkeypatch.setattr(cells.Scale, "prepare", lambda *_: None)
    trained: list[str] = []

    def train(scale: Any, cell: Any, deadline: float) -> dict[str, Any]:
        trained.append(cell.method)
        return {"iteration": 4, "stopped": "by the clock"}

    monkeypatch.setattr(cells, "train", train)
    only = r"5way_1shot/(fomaml/(float64|captured)|anil/captured)|cells.*5way_1shot/.*/0"
    minutes(tmp_path, only=only).run()
    record = read(tmp_path)
    found = record["parts"]["checks"]
    assert found["5way_1shot/fomaml/float64"]["ok"] is False
    assert found["5way_1shot/fomaml/captured"]["ok"] is True  # goes on
    rates = record["parts"]["rates"]
    failed = "5way_1shot/fomaml/float64"
    assert rates["5way_1shot/fomaml/captured"]["left_out"] == f"{failed} is wrong"
    assert rates["5way_1shot/anil/captured"]["per_second"] > 0
    assert trained == ["anil"]
    page = (tmp_path / "minutes-cpu.md").read_text(encoding="utf-8")
    assert f"**1 failed: {failed}.** 2 of 3 hold." in page
    assert f"left out: {failed} is wrong" in page


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three steps in place of all, whose names are noted: one fails, one ends its process."""
    told: list[str] = []

    def step(name: str, stage: Stage) -> dict[str, Any]:
        told.append(name)
        if name == "fails":
            raise ValueError("no such\nthing")
        if name == "ends":
            raise torch.AcceleratorError("illegal memory access")
        return {"distance": float("nan"), "ok": False, "limit": 0.0}

    names = ("fails", "ends", "tells")
    parts = {part: {name: partial(step, name) for name in names} for part in run.SHARES}
    monkeypatch.setattr(run, "steps", lambda: parts)
    monkeypatch.setattr(Here, "begun", 0)
    return told


def test_a_step_that_fails_is_recorded_and_asked_for_again(
    tmp_path: Path, three: list[str]
) -> None:
    """One that leaves the device unusable has the others a process of their own."""
    minutes(tmp_path, only="checks").run()
    found = read(tmp_path)["parts"]["checks"]
    assert found["fails"]["error"] == "ValueError: no such thing"
    assert found["ends"]["error"] == "AcceleratorError: illegal memory access"
    assert found["tells"] | {"seconds": 0} == {
        "distance": None, "ok": False, "limit": 0.0, "seconds": 0,
    }  # fmt: skip
    assert (three, Here.begun) == (["fails", "ends", "tells"], 2)
    minutes(tmp_path, only="checks").run()
    assert three[3:] == ["fails", "ends"]
    assert len(read(tmp_path)["spent"]) == 2


def test_parts_stop_by_the_clock(
    tmp_path: Path, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0.0, 3.0)  # each look at it costs three seconds
    monkeypatch.setattr(run.time, "monotonic", lambda: next(clock))
    minutes(tmp_path, 1.0).run()
    parts = read(tmp_path)["parts"]
    assert list(parts) == list(run.SHARES)
    asked = {part: len(found) for part, found in parts.items()}
    assert 3 >= asked["checks"] > asked["peers"]


def test_other_code_begins_a_record_anew(tmp_path: Path, three: list[str]) -> None:
    minutes(tmp_path, only="checks").run()
    record = read(tmp_path) | {"key": "of older code"}
    (tmp_path / "minutes-cpu.json").write_text(json.dumps(record), encoding="utf-8")
    minutes(tmp_path, only="rates").run()
    assert not read(tmp_path)["parts"]["checks"]


def test_a_worker_that_cannot_begin_is_one_line(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    line = command(tmp_path, "checks")
    line[line.index("cpu")] = "cuda"
    done = subprocess.run(
        line, capture_output=True, text=True, cwd=ROOT, check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: the device can't be used" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("minutes-*"))


def test_cells_are_trained_cheapest_first() -> None:
    scale = cells.Scale(ROOT, "omniglot-gpu", None)
    planned = scale.plan({"maml", "fomaml", "multistep8"})
    rates = {"5way_1shot/maml": 100.0, "5way_1shot/fomaml": 400.0, "20way_1shot/maml": 60.0}
    found = [(c.experiment, c.method, c.seed, s) for c, s in cells.order(planned, rates)]
    assert found[:4] == [
        ("5way_1shot", "fomaml", 0, 150.0), ("5way_1shot", "maml", 0, 600.0),
        ("20way_1shot", "maml", 0, 1000.0), ("5way_1shot", "fomaml", 1, 150.0),
    ]  # fmt: skip
    assert len(found) == 9
    one = planned[0].definition["settings"]
    assert (one["iterations"], one["meta_batch"]) == (60_000, 32)


def test_a_cell_that_is_stopped_goes_on(scale: cells.Scale) -> None:
    planned = scale.plan({"multistep8"})
    cell = next(c for c in planned if (c.experiment, c.seed) == ("5way_1shot", 0))
    stopped = cells.train(scale, cell, time.monotonic() + cells.SAVING + 0.2)
    assert stopped["stopped"] == "by the clock"
    done = cells.train(scale, cell, time.monotonic() + 600)
    assert done["iteration"] == 12
    assert cells.train(scale, cell, 0.0)["accuracy"] == done["accuracy"]


@pytest.mark.parametrize(
    ("rate", "alone", "verdicts"), [(210, 212, "yes yes"), (150, 170, "**no** **no**")]
)
def test_targets_are_told(tmp_path: Path, rate: float, alone: float, verdicts: str) -> None:
    found = {"per_second": rate, "alone": alone, "tasks": 32, "steps": 8, "bytes": 10**9}
    parts = {"rates": {"5way_1shot/maml/captured": found}}
    environment = device.environment(CPU, 1) | {"device": "NVIDIA H200"}
    record = {"kind": "bench-minutes", "environment": environment, "parts": parts, "cells": {}}
    page = report.page(record)
    met = [
        line.split("|")[4].strip()
        for line in page.splitlines()
        if " | 200 |" in line or " | 0.98 |" in line
    ]
    assert met == verdicts.split()
    assert "# Minutes on NVIDIA H200" in page


def test_a_cell_that_fails_says_why(tmp_path: Path) -> None:
    scale = cells.Scale(tmp_path, "demo", None)
    scale.set_up()
    cell = scale.plan({"fomaml"})[0]
    found = cells.train(scale, cell, time.monotonic() + 600)  # its data aren't there
    assert "no such file" in found["error"]
