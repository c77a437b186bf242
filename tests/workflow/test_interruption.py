"""A run that is killed without warning goes on where it was and ends with the same numbers."""

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


SNAKEMAKE = [sys.executable, "-m", "snakemake"]
LOG = f"logs/train/{TARGET[8:-5]}.log"
STATE, AT_END = (f"scratch/{TARGET[:-5]}{suffix}" for suffix in (".pt", ".state"))


def longer(plan):
    """So that there is time to kill it."""
    plan["checkpoint_seconds"] = 0.1
    plan["few_shot"].update(iterations=ITERATIONS, log_every=50)
    plan["experiments"]["5way_5shot"]["datasets"] = []  # validates too often for that


@pytest.mark.fault("Snakemake and its cell killed", "goes on after --unlock")
def test_kill_unlock_resume(project):
    workspace.change(project, longer)
    workspace.snakemake(project, TARGET)
    uninterrupted = workspace.read(project, TARGET)
    (project / TARGET).unlink()
    (project / AT_END).unlink()  # else nothing is trained

    assert not (project / STATE).exists(), "an accepted cell leaves no state"
    run = workspace.start(project, *SNAKEMAKE, TARGET)
    try:
        workspace.until(lambda: run.poll() is not None or (project / STATE).exists())
        assert run.poll() is None, "the run ended before it saved a checkpoint"
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    assert not (project / TARGET).exists()

    assert "--unlock" in workspace.snakemake(project, TARGET, status=1)
    workspace.snakemake(project, "--unlock")
    for said in (workspace.snakemake(project, TARGET), (project / LOG).read_text()):
        assert "resumed at iteration" in said

    resumed = workspace.read(project, TARGET)
    for part in ("cell", "metrics", "history"):
        assert resumed[part] == uninterrupted[part]
    kept = TARGET.replace(".json", ".safetensors")
    (project / kept).unlink()  # lost: the state at the end makes it again
    assert workspace.pending(project, TARGET) == {}
    said = workspace.snakemake(project, kept)
    assert f"resumed at iteration {ITERATIONS} of {ITERATIONS}" in said
    assert (project / kept).is_file()

    workspace.change(project, lambda plan: plan["few_shot"].update(iterations=ITERATIONS + 10))
    said = workspace.snakemake(project, TARGET)
    assert f"resumed at iteration {ITERATIONS} of {ITERATIONS + 10}" in said
    assert workspace.read(project, TARGET)["history"][:3] == resumed["history"]
    assert not (project / STATE).exists()


@pytest.mark.fault(
    "Snakemake killed, its cell finishes alone", "the same result in seconds, its log kept"
)
def test_what_an_orphan_made_is_not_lost(project):
    """Snakemake is killed, its child finishes, and Snakemake deletes what it doesn't know of."""
    workspace.snakemake(project, "data/processed/drawn_first/dataset.json")
    log, result = project / LOG, project / TARGET
    workspace.change(project, longer)
    run = workspace.start(project, *SNAKEMAKE, TARGET)
    workspace.until(lambda: "iteration=50 " in workspace.text(log))  # Snakemake deletes the old one
    run.kill()  # it alone
    run.wait()
    workspace.until(result.exists)
    time.sleep(0.2)
    made, told = result.read_text(), log.read_text()
    workspace.snakemake(project, "--unlock")
    assert "finished before" in workspace.snakemake(project, TARGET)
    assert result.read_text() == made
    lines = [line for line in told.splitlines() if ": iteration=" in line]
    assert len(lines) == 3
    assert all(line in log.read_text() for line in lines)
    assert not (project / STATE).exists()


COMMANDS = {
    "snakemake": [*SNAKEMAKE, "--cores", "2", "train"],
    "dvc repro": [sys.executable, "-m", "dvc", "repro", "train"],
}
LOCKED = ("Directory cannot be locked", "LockException", "Unable to acquire lock", "is busy")
CELLS = [f"results/5way_1shot/drawn_first/{method}/0" for method in ("maml", "fomaml")]


def start(project, command, before=None):
    return workspace.start(project, *COMMANDS[command], stdout=subprocess.PIPE, preexec_fn=before)


def lose(project):
    """Two cells with all that they left."""
    for cell in CELLS:
        for lost in (f"{cell}.json", f"{cell}.safetensors", f"scratch/{cell}.state"):
            (project / lost).unlink()
    return project


def cells(project):
    records = [workspace.read(project, f"{cell}.json") for cell in CELLS]
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
    assert workspace.read(project, f"{CELLS[0]}.json")["metrics"] == right[0]["metrics"]
