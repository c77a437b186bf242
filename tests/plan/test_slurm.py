"""What is asked of a Slurm cluster, and what it answers; needs none (tests/workflow has one)."""

import asyncio
from types import SimpleNamespace

import pytest

from multistep.files import UserError
from multistep.plan import slurm

SINFO = """\
cpu*|4:00:00|64000|16|(null)
cpu*|4:00:00|128000|32|(null)
gpu|1-00:00:00|256000|16|gpu:a100:4(S:0-1),shard:8
gpu|1-00:00:00|64000|64|gpu:2
long|infinite|64000|64|gpu:v100:1,gpu:a100:2
"""


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [
        ("30:00", 30),
        ("2:00:00", 120),
        ("1-02:30:00", 1590),
        ("15", 0.25),
        ("infinite", float("inf")),
    ],
)
def test_time_limits(limit, minutes):
    assert slurm.minutes(limit) == minutes


def test_offers_of_partitions():
    offers = slurm.offers(SINFO)
    assert offers[None] == offers["cpu"]
    assert {node.gpus for node in offers["gpu"]} == {4, 2}
    assert offers["long"] == {slurm.Node(float("inf"), 64000, 64, 3)}


def job(name="train_cell", partition="gpu", retries=3, local=False, **most):
    """A job of Snakemake that asks for (1, 2, ...) times as much, no more than `most`."""
    job = SimpleNamespace(name=name, restart_times=retries, is_local=local, is_group=lambda: False)
    job.resources = SimpleNamespace(
        get=lambda key: {
            "slurm_partition": partition,
            "_cores": 1,
            "gpu": 1,
            "runtime": min(240 * job.attempt, most.get("runtime", 960)),
            "mem_mb": min(16000 * job.attempt, most.get("mem_mb", 64000)),
        }.get(key)
    )
    return job


@pytest.mark.parametrize(
    ("jobs", "told"),
    [
        ([job(), job("other")], []),
        ([job(partition="cpu", local=True)], []),
        ([job(partition="cpu")], ["attempt 1: asks for 1 GPUs, of which partition cpu gives 0"]),
        ([job(partition=None)], ["attempt 1: asks for 1 GPUs, of which the default partition"]),
        ([job(partition="gpuu")], ["no partition gpuu; name one of cpu, gpu, long"]),
        ([job(runtime=9999, retries=9)], ["attempt 7: asks for 1680 min, of which partition gpu"]),
        ([job(partition="long", mem_mb=80000, retries=9)], ["attempt 5: asks for 80000 MB"]),
        ([job(retries=0), job("b", "x"), job("c", "y")], ["no partition x", "no partition y"]),
    ],
)
def test_what_no_node_can_give_is_refused_once_a_rule(jobs, told):
    lines = list(slurm.refused(slurm.requests(jobs), slurm.offers(SINFO)))
    assert len(lines) == len(told)
    for line, part in zip(lines, told, strict=True):
        assert part in line
    assert all(one.attempt == 1 for one in jobs if not one.is_local)


def test_what_no_single_node_has_is_refused():
    asked = slurm.Request("group x", 1, "gpu", 60, 200000, 32, 1)
    (line,) = slurm.refused([asked], slurm.offers(SINFO))
    assert "no single node of partition gpu has 200000 MB, 32 CPUs and 1 GPUs" in line


@pytest.mark.parametrize(
    ("command", "storage", "age", "told"),
    [
        ("squeue", "none", "300 sec", None),
        ("squeue", "slurmdbd", "300 sec", None),
        ("sacct", "slurmdbd", "2 sec", None),
        ("sacct", "none", "300 sec", "slurm-status-command: squeue"),
        ("squeue", "none", "120 sec", "ask its administrator for 300"),
        ("squeue", "slurmdbd", "120 sec", "slurm-status-command: sacct"),
    ],
)
def test_a_job_whose_end_would_be_missed_is_foreseen(command, storage, age, told):
    config = f"AccountingStorageType   = accounting_storage/{storage}\nMinJobAge    = {age}\n"
    lines = list(slurm.unwatched(command, config))
    assert lines == [] if told is None else told in lines[0]


def test_where_there_is_no_slurm_that_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="squeue: no such command; start on a machine that has"):
        slurm.stop(["a"])


def test_the_plugin_takes_a_preempted_job_for_a_failed_one():
    async def query(command, logger):
        return ({"1": "RUNNING", "2": "PREEMPTED"}, 0.1) if command == "squeue" else (None, None)

    plugin = SimpleNamespace(query_job_status=query)
    slurm.see_preempted(plugin)
    told = [asyncio.run(plugin.query_job_status(command, None)) for command in ("squeue", "x")]
    assert told == [({"1": "RUNNING", "2": "FAILED"}, 0.1), (None, None)]


def test_what_slurm_says_is_told_once_by_its_commands_name() -> None:
    with pytest.raises(UserError, match=r"^sh: no such host; wait for Slurm, and run again$"):
        slurm._ask("sh", "-c", "echo 'sh: no such host' >&2; exit 1")
