"""A run that is killed without warning goes on where it was and ends with the same numbers."""

import json
import os
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
