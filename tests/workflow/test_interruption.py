"""A run that is killed without warning goes on where it was and ends with the same numbers."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import workspace

TARGET = "results/5way_1shot/drawn_first/maml/0.json"
ITERATIONS = 150


@pytest.mark.fault("Snakemake and its cell killed", "goes on after --unlock")
def test_kill_unlock_resume(project):
    def longer(plan):
        plan["checkpoint_seconds"] = 0.1
        plan["few_shot"].update(iterations=ITERATIONS, log_every=50)
        plan["experiments"]["5way_5shot"]["datasets"] = []  # validates too often for that

    workspace.change(project, longer)
    workspace.snakemake(project, TARGET)
    uninterrupted = json.loads((project / TARGET).read_text())
    (project / TARGET).unlink()
    (project / "scratch" / TARGET.replace(".json", ".state")).unlink()  # else nothing is trained

    checkpoint = project / "scratch" / TARGET.replace(".json", ".pt")
    assert not checkpoint.exists(), "an accepted cell leaves no state"
    run = subprocess.Popen(
        [sys.executable, "-m", "snakemake", TARGET], cwd=project,
        env=workspace.environment(project), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not checkpoint.exists():
            assert run.poll() is None, "the run ended before it saved a checkpoint"
            assert time.monotonic() < deadline, "no checkpoint after two minutes"
            time.sleep(0.02)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    assert not (project / TARGET).exists()

    assert "--unlock" in workspace.snakemake(project, TARGET, status=1)
    workspace.snakemake(project, "--unlock")
    output = workspace.snakemake(project, TARGET)
    assert "resumed at iteration" in output
    assert (
        "resumed at iteration"
        in (project / "logs/train" / TARGET[8:-5]).with_suffix(".log").read_text()
    )

    resumed = json.loads((project / TARGET).read_text())
    for part in ("cell", "metrics", "history"):
        assert resumed[part] == uninterrupted[part]
    kept = TARGET.replace(".json", ".safetensors")
    (project / kept).unlink()  # lost: the state at the end makes it again
    assert workspace.pending(project, TARGET) == {}
    assert f"resumed at iteration {ITERATIONS} of {ITERATIONS}" in workspace.snakemake(
        project, kept
    )
    assert (project / kept).is_file()

    workspace.change(project, lambda plan: plan["few_shot"].update(iterations=ITERATIONS + 10))
    output = workspace.snakemake(project, TARGET)
    assert f"resumed at iteration {ITERATIONS} of {ITERATIONS + 10}" in output
    longer = json.loads((project / TARGET).read_text())
    assert longer["history"][:3] == resumed["history"]
    assert not checkpoint.exists()


@pytest.mark.fault(
    "Snakemake killed, its cell finishes alone", "the same result in seconds, its log kept"
)
def test_what_an_orphan_made_is_not_lost(project):
    """Snakemake is killed, its child finishes, and Snakemake deletes what it doesn't know of."""
    workspace.snakemake(project, "data/processed/drawn_first/dataset.json")
    log = (project / "logs/train" / TARGET[8:-5]).with_suffix(".log")
    result = project / TARGET

    def longer(plan):
        plan["few_shot"].update(iterations=ITERATIONS, log_every=50)
        plan["experiments"]["5way_5shot"]["datasets"] = []

    workspace.change(project, longer)
    run = subprocess.Popen(
        [sys.executable, "-m", "snakemake", TARGET], cwd=project,
        env=workspace.environment(project), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not log.exists() or "iteration=50 " not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.kill()  # it alone
    run.wait()
    while not result.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.2)
    made, told = result.read_text(), log.read_text()
    workspace.snakemake(project, "--unlock")
    output = workspace.snakemake(project, TARGET)
    assert "finished before" in output
    assert result.read_text() == made
    lines = [line for line in told.splitlines() if ": iteration=" in line]
    assert len(lines) == 3
    assert all(line in log.read_text() for line in lines)
    assert not (project / "scratch" / TARGET.replace(".json", ".pt")).exists()


COMMANDS = {
    "snakemake": [sys.executable, "-m", "snakemake", "--cores", "2", "train"],
    "dvc repro": [sys.executable, "-m", "dvc", "repro", "train"],
}
LOCKED = ("Directory cannot be locked", "LockException", "Unable to acquire lock", "is busy")
CELLS = [f"results/5way_1shot/drawn_first/{method}/0" for method in ("maml", "fomaml")]


def start(project, command, before=None):
    return subprocess.Popen(
        COMMANDS[command], cwd=project, env=workspace.environment(project), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=before,
    )  # fmt: skip


def lose(project):
    """Two cells with all that they left."""
    for cell in CELLS:
        for lost in (f"{cell}.json", f"{cell}.safetensors", f"scratch/{cell}.state"):
            (project / lost).unlink()
    return project


def cells(project):
    records = [json.loads((project / f"{cell}.json").read_text()) for cell in CELLS]
    return [{key: record[key] for key in ("cell", "metrics", "history")} for record in records]


@pytest.fixture(scope="module")
def seconds(built, tmp_path_factory):
    """How long the two cells take by each command."""
    found = {}
    for command in COMMANDS:
        folder = tmp_path_factory.mktemp("undisturbed") / "project"
        process = start(lose(shutil.copytree(built, folder, symlinks=True)), command)
        began = time.monotonic()
        said, _ = process.communicate()
        assert process.returncode == 0, said
        found[command] = time.monotonic() - began
    return found


@pytest.mark.slow
@pytest.mark.fault(
    "Snakemake or `dvc repro`, with its jobs, killed or stopped at a random moment (KILL, TERM, "
    "INT, HUP)",
    "`snakemake --unlock` where it says that the directory is locked; then the same command",
    "at most what a job did since its checkpoint",
)
@pytest.mark.parametrize(
    ("command", "how"),
    [
        *(("snakemake", how) for how in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")),
        *(("dvc repro", how) for how in ("SIGKILL", "SIGINT")),
    ],
)
def test_the_whole_goes_on(project, seconds, command, how):
    right = cells(project)
    process = start(lose(project), command)
    moment = random.random() * seconds[command]
    time.sleep(moment)
    os.killpg(process.pid, getattr(signal, how))
    said, _ = process.communicate(timeout=300)
    for _ in range(30):  # jobs of a session that is gone end by themselves
        if not alive(process.pid):
            break
        time.sleep(1)
    said = workspace.run(project, *COMMANDS[command], status=None)
    if any(word in said for word in LOCKED):
        workspace.snakemake(project, "--unlock")
        said = workspace.run(project, *COMMANDS[command], status=None)
    assert cells(project) == right, (moment, said)
    assert workspace.pending(project, "train") == {}


def alive(session):
    found = subprocess.run(["ps", "-o", "pid=", "-s", str(session)], stdout=subprocess.PIPE)
    return bool(found.stdout.strip())


@pytest.mark.slow
@pytest.mark.fault("two of Snakemake or `dvc repro` at once", "the second is told that one runs")
@pytest.mark.parametrize("command", COMMANDS)
def test_two_at_once(project, command):
    right = cells(project)
    both = [start(lose(project), command), start(project, command)]
    said = [process.communicate(timeout=600)[0] for process in both]
    ends = [process.returncode for process in both]
    assert 0 in ends, said
    for text, end in zip(said, ends, strict=True):
        assert end == 0 or any(word in text for word in LOCKED), text
    assert cells(project) == right


@pytest.mark.slow
@pytest.mark.fault("a clock that jumps a day ahead, and back, between jobs", "nothing reruns")
def test_a_clock_that_jumps(project, record_property):
    day = 86_400
    for folder, by in (("data", day), ("results", -day), ("results", 2 * day), ("data", -day)):
        for path in (project / folder).rglob("*"):
            at = path.stat().st_mtime + by
            os.utime(path, (at, at))
        assert workspace.pending(project, "train") == {}, (folder, by)
    record_property("injected", 4)


@pytest.mark.slow
@pytest.mark.fault("one cell that needs more memory than there is", "the others are trained")
def test_a_cell_without_memory_stops_no_other(project):
    def large(plan):
        overrides = {"fomaml": {"network": {"filters": 2048}}}
        plan["experiments"]["5way_1shot"]["overrides"] = overrides

    right = cells(project)
    workspace.change(lose(project), large)
    much = 3 << 29
    process = start(
        project, "snakemake", lambda: resource.setrlimit(resource.RLIMIT_DATA, (much, much))
    )
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "there is not enough memory; give the job more" in said
    assert not (project / f"{CELLS[1]}.json").exists()
    record = json.loads((project / f"{CELLS[0]}.json").read_text())
    assert record["metrics"] == right[0]["metrics"]
