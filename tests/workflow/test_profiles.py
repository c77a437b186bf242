"""The profiles: what jobs ask a cluster for, through the real submission path."""

import json
import re
import sys
from pathlib import Path

import pytest
import workspace
import yaml

BATCH = Path(__file__).with_name("batch.py")
CELL = "results/5way_1shot/drawn_first/maml/0.json"


def profile(name: str) -> dict:
    text = (workspace.ROOT / "profiles" / name / "profile.yaml").read_text()
    return yaml.safe_load(text)


@pytest.mark.parametrize("name", ["default", "slurm", "generic"])
def test_every_line_of_a_profile_says_why(name):
    lines = (workspace.ROOT / "profiles" / name / "profile.yaml").read_text().splitlines()
    reason = False
    for line in lines:
        if line.strip().startswith("#"):
            reason = True
        elif not line.strip():
            reason = False
        else:
            # A key that only opens a block, and its neighbours under one heading, share a reason.
            assert reason, line


def test_both_profiles_keep_what_reruns_depend_on():
    for name in ("default", "slurm"):
        settings = profile(name)
        for key in ("rerun-incomplete", "keep-going"):
            assert settings[key] is True
        assert settings["max-checksum-file-size"] == "100GB"
    # A cap in the cluster's profile would limit submissions, not GPUs.
    assert "resources" not in profile("slurm")
    assert profile("slurm")["slurm-status-command"] == "squeue"


def test_slurm_dry_run_asks_for_gpu_memory_and_time(fresh):
    folder = fresh()
    workspace.change(folder, lambda p: p.update(device="cuda"))
    output = workspace.snakemake(
        folder, "-n", "--verbose", "--workflow-profile", "profiles/slurm", CELL
    )
    train = output.partition("rule train_cell:")[2].partition("\n\n")[0]
    resources = re.search(r"resources: (.*)", train)
    assert resources, output
    for asked in ("gpu=1", "mem_mb=16000", "runtime=240", "slurm_extra=--signal=TERM@120"):
        assert asked in resources[1]


def test_without_a_gpu_none_is_asked_for(fresh):
    output = workspace.snakemake(fresh(), "-n", "--verbose", CELL)
    assert "gpu=0" in output.partition("rule train_cell:")[2].partition("\n\n")[0]


@pytest.mark.parametrize(
    ("options", "limit"), [((), sys.maxsize), (("--max-jobs-per-timespan", "50/1m"), 50)]
)
def test_only_a_job_limit_that_someone_has_set_counts(project, options, limit):
    (project / CELL).unlink()
    output = workspace.snakemake(project, "--verbose", *options, CELL)
    after = re.findall(r"Resources after job selection: .*'_job_count': (\d+)", output)
    assert after
    assert set(map(int, after)) == {limit}


OPTIONS = ("--profile", "profiles/slurm", "--workflow-profile", "profiles/batch")


@pytest.fixture
def cluster(project, tmp_path, monkeypatch):
    """profiles/generic with the commands of the test's batch system."""
    folder = tmp_path / "batch"
    folder.mkdir()
    command = f"{sys.executable} {BATCH}"
    asked = "--gpu {resources.gpu} --mem {resources.mem_mb} --minutes {resources.runtime}"
    cancel = folder / "cancel"
    cancel.write_text(f'#!/bin/sh\nexec {command} cancel "$@"\n')
    cancel.chmod(0o755)
    settings = profile("generic") | {
        "cluster-generic-submit-cmd": f"{command} submit --rule {{rule}} {asked}",
        "cluster-generic-status-cmd": f"{command} status",
        "cluster-generic-cancel-cmd": str(cancel),
        "latency-wait": 5,
        "seconds-between-status-checks": 1,
        "max-status-checks-per-second": 20,
    }
    (project / "profiles" / "batch").mkdir()
    (project / "profiles" / "batch" / "profile.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("BATCH_FOLDER", str(folder))

    def submitted(rule: str) -> list[dict]:
        lines = (folder / "jobs.jsonl").read_text().splitlines()
        return [job for line in lines if (job := json.loads(line))["rule"] == rule]

    def needs(**megabytes: int) -> None:
        (folder / "needs.json").write_text(json.dumps(megabytes))

    needs()
    return project, submitted, needs


def test_a_job_that_ran_out_of_memory_comes_back_with_more(cluster):
    project, submitted, needs = cluster
    needs(train_cell=20000)
    (project / CELL).unlink()
    workspace.snakemake(project, *OPTIONS, CELL)
    assert (project / CELL).exists()
    first, second = submitted("train_cell")
    assert (first["mem"], first["minutes"]) == (16000, 240)
    assert (second["mem"], second["minutes"]) == (32000, 480)
    assert first["gpu"] == second["gpu"] == 0
    assert workspace.pending(project, CELL) == {}


def test_every_retry_is_a_submission_that_asks_for_a_gpu(cluster):
    project, submitted, needs = cluster
    needs(train_cell=10**6)
    workspace.change(project, lambda p: p.update(device="cuda"))
    (project / CELL).unlink()
    workspace.snakemake(project, *OPTIONS, CELL, status=1)
    jobs = submitted("train_cell")
    assert len(jobs) == 1 + profile("slurm")["retries"]
    assert [job["gpu"] for job in jobs] == [1] * len(jobs)
    assert [job["mem"] for job in jobs] == [16000 * n for n in range(1, len(jobs) + 1)]
