"""`multistep status`: what files in a scale's folder say of its plan."""

from __future__ import annotations

import fcntl
from collections import Counter
from pathlib import Path

import pytest
import yaml
from helpers import PARAMS, small_params

from multistep import cli
from multistep.plan import params, status


def touch(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_states_are_told_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(Path("params.yaml"), PARAMS.read_text(encoding="utf-8"))
    touch(Path("over.yaml"), yaml.safe_dump({"seeds": [0, 1], "families": ["few_shot"]}))
    plan = params.load(Path("params.yaml"), Path("over.yaml"))
    waiting = list(status.jobs(plan, tmp_path))
    assert {job.state for job in waiting} == {"waiting"}
    cell = "5way_1shot/omniglot/maml"
    touch(Path(f"results/{cell}/0.json"), "{}")
    touch(Path(f"logs/train/{cell}/1.log"), "one\ntwo\nerror: the reason\n")
    touch(Path("scratch/results/5way_1shot/omniglot/fomaml/0.pt"))
    lock = touch(Path("scratch/results/5way_1shot/omniglot/fomaml/1.pt.lock"))
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        states = Counter(job.state for job in status.jobs(plan, tmp_path))
        rest = len(waiting) - 4
        assert states == {"done": 1, "failed": 1, "stopped": 1, "running": 1, "waiting": rest}
        assert cli.main(["status", "params.yaml", "over.yaml"]) == 0
    told = capsys.readouterr().out
    assert f"failed: results/{cell}/1.json\n    one\n    two\n    error: the reason\n" in told
    assert f"1 done, 1 running, 1 failed, 1 stopped, {rest} waiting" in told
    assert "go on:" not in told  # it does
    cli.main(["status", "params.yaml", "over.yaml"])  # the process is gone, its lock's file is not
    told = capsys.readouterr().out
    assert "go on: snakemake --configfile over.yaml --cores all --rerun-incomplete" in told


def test_what_is_no_result_and_no_log_is_told_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(Path("params.yaml"), PARAMS.read_text(encoding="utf-8"))
    empty, cut, folder = (f"results/5way_1shot/omniglot/maml/{seed}.json" for seed in range(3))
    touch(Path(empty))
    touch(Path(cut), '{"cell": ')
    Path(folder).mkdir()
    stopped = "5way_1shot/omniglot/fomaml/0"
    touch(Path(f"scratch/results/{stopped}.pt"))
    Path(f"scratch/results/{stopped}.pt.lock").mkdir()
    Path(f"logs/train/{stopped}.log").mkdir(parents=True)
    Path("logs/train/5way_1shot/omniglot/fomaml/1.log").mkdir()
    assert cli.main(["status"]) == 0
    told = capsys.readouterr().out.splitlines()
    for path in (empty, cut, folder):
        assert f"damaged: {path}; delete it, then it is made again" in told
    assert f"stopped: results/{stopped}.json" in told
    assert told[-2].startswith("0 done, 0 running, 0 failed, 1 stopped, ")
    assert ", 3 damaged of " in told[-2]


def test_every_job_of_the_plan_is_told_once() -> None:
    paths = [job.path for job in status.jobs(small_params(), Path("nowhere"))]
    assert len(paths) == len(set(paths)) > 100
