"""`multistep status`: what files in a scale's folder say of its plan."""

from __future__ import annotations

import fcntl
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import PARAMS, prepared_dataset, small_params

from multistep import cli, seal
from multistep.data import prepared
from multistep.plan import cells, params, status


def touch(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def made(path: Path, cell: dict[str, Any], **made_from: str) -> Path:
    """Of a record what is compared with the plan, sealed."""
    return touch(path, json.dumps(seal.seal({"schema": 2, "cell": cell}, made_from)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a plan alone, where commands run."""
    monkeypatch.chdir(tmp_path)
    touch(Path("params.yaml"), PARAMS.read_text(encoding="utf-8"))
    return tmp_path


def test_states_are_told_from_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(Path("over.yaml"), yaml.safe_dump({"seeds": [0, 1], "families": ["few_shot"]}))
    plan = params.load(Path("params.yaml"), Path("over.yaml"))
    waiting = list(status.jobs(plan, here))
    assert {job.state for job in waiting} == {"waiting"}
    cell = "5way_1shot/omniglot/maml"
    right = next(c for c in cells.plan(plan) if c.path == f"results/{cell}/0.json")
    made(Path(right.path), right.definition)
    touch(Path(f"logs/train/{cell}/1.log"), "one\ntwo\nerror: the reason\n")
    touch(Path("scratch/results/5way_1shot/omniglot/fomaml/0.pt"))
    lock = touch(Path("scratch/results/5way_1shot/omniglot/fomaml/1.pt.lock"))
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        states = Counter(job.state for job in status.jobs(plan, here))
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
    anew = "data/processed/omniglot, which isn't there, and then anew what rests on it: 1 done\n"
    assert told.endswith(f"    that makes {anew}")
    prepared_dataset(Path("data/processed/omniglot"))
    digest = prepared.describe(Path("data/processed/omniglot")).digest
    made(Path(right.path), right.definition, dataset=digest)
    cli.main(["status", "params.yaml", "over.yaml"])
    told = capsys.readouterr().out
    assert "1 done" in told
    assert told.endswith("go on: snakemake --configfile over.yaml --cores all --rerun-incomplete\n")


def test_a_result_of_other_settings_is_stale(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = params.load(Path("params.yaml"))
    cell = next(c for c in cells.plan(plan) if c.path == "results/5way_1shot/omniglot/maml/0.json")
    path, measured = next(iter(cells.measurements(plan).items()))
    changed = cell.definition
    changed["settings"]["iterations"] = 7
    for file, job in ((cell.path, changed), (path, {**measured, "data": {"size": 9}})):
        made(Path(file), job)
    assert cli.main(["status"]) == 0
    told = capsys.readouterr().out
    for file, what in (
        (cell.path, "cell.settings.iterations is 7, but the plan says 60000"),
        (path, "cell.data.size is 9, but the plan says "),
    ):
        assert f"stale: {file}: {what}" in told
    assert "0 done, 0 running, 0 failed, 0 stopped, " in told
    assert ", 2 stale of " in told
    assert "delete it and build it again (snakemake results/" in told


def test_a_result_on_other_data_than_is_there_is_stale(tmp_path: Path) -> None:
    prepared_dataset(tmp_path / "data" / "processed" / "omniglot")
    plan = params.load(PARAMS)
    cell = next(c for c in cells.plan(plan) if c.path == "results/5way_1shot/omniglot/maml/0.json")
    digest = prepared.describe(tmp_path / "data/processed/omniglot").digest
    for made_on, state in ((digest, "done"), ("another", "stale")):
        made(tmp_path / cell.path, cell.definition, dataset=made_on)
        [job] = [job for job in status.jobs(plan, tmp_path) if job.path == cell.path]
        assert job.state == state
    assert "made_from.dataset is 'another', but the plan says " in job.mend


def test_what_is_no_result_and_no_log_is_told_and_stops_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = ("5way_1shot/omniglot/maml", "5way_1shot/omniglot/fomaml")
    names = [f"results/{of}/{seed}.json" for of in methods for seed in range(3)]
    empty, cut, folder, _, other, edited = names
    touch(Path(empty))
    touch(Path(cut), '{"cell": ')
    touch(Path(other), "{}")
    Path(folder).mkdir()
    found = cells.plan(params.load(Path("params.yaml")))
    right = made(Path(edited), next(cell for cell in found if cell.path == edited).definition)
    right.write_text(right.read_text().replace('"made_from": {}', '"made_from": {"code": "0"}'))
    stopped = "5way_1shot/omniglot/fomaml/0"
    touch(Path(f"scratch/results/{stopped}.pt"))
    Path(f"scratch/results/{stopped}.pt.lock").mkdir()
    Path(f"logs/train/{stopped}.log").mkdir(parents=True)
    Path("logs/train/5way_1shot/omniglot/fomaml/1.log").mkdir()
    assert cli.main(["status"]) == 0
    told = capsys.readouterr().out.splitlines()
    for path in (empty, cut, folder, edited, other):
        assert f"damaged: {path}; delete it, then it is made again" in told
    assert f"stopped: results/{stopped}.json" in told
    assert told[-2].startswith("0 done, 0 running, 0 failed, 1 stopped, ")
    assert ", 5 damaged of " in told[-2]


def test_of_many_jobs_ten_of_a_state_are_told_and_how_many_more(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = cells.plan(params.load(Path("params.yaml")))
    for cell in found[:13]:
        touch(Path(cell.path), "{}")
    cli.main(["status", "params.yaml"])
    told = capsys.readouterr().out
    assert told.count("\ndamaged: results/") == 10
    assert "damaged: 3 more; --all names them" in told
    cli.main(["status", "params.yaml", "--all"])
    told = capsys.readouterr().out
    assert told.count("\ndamaged: results/") == 13
    assert "more;" not in told
    assert all(cell.path in told for cell in found)


def test_every_job_of_the_plan_is_told_once() -> None:
    paths = [job.path for job in status.jobs(small_params(), Path("nowhere"))]
    assert len(paths) == len(set(paths)) > 100
