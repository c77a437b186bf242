"""What Snakemake's plugin for Slurm leaves to its users, done before it submits anything.

What a killed run has left in the queue would be submitted a second time, so it is stopped. What no
node of its partition can ever give would wait without a word, so it is refused. And the plugin
would wait until someone looks for a job whose end it can't learn of, or that was preempted.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from multistep.files import UserError, write_text
from multistep.progress import say

# Of the plugin, in seconds: how long it may wait between two looks at the queue.
LOOKS = 180
PATIENCE = 300  # seconds that jobs of former runs have to end


class Request(NamedTuple):
    """What one attempt of a job asks a node for; `partition` None: the cluster's default."""

    job: str
    attempt: int
    partition: str | None
    minutes: int
    megabytes: int
    cpus: int
    gpus: int


class Node(NamedTuple):
    """What one node of a partition gives to a job at most."""

    minutes: float
    megabytes: int
    cpus: int
    gpus: int


def begin(workflow: Any, home: Path) -> None:
    """To be called by Snakemake before its first job, in the scale's folder `home`.

    Raises UserError, one line a mistake, where the profile doesn't fit the cluster.
    """
    dag, executor = workflow.dag, workflow.scheduler._executor
    jobs = {dag.get_job_group(job) or job for job in dag.needrun_jobs()}
    wrong = list(refused(requests(jobs), offers(_ask("sinfo", "-h", "-e", "-N", "-o", FIELDS))))
    wrong += unwatched(executor.get_status_command(), _ask("scontrol", "show", "config"))
    if wrong:
        raise UserError("The profile doesn't fit this cluster:\n  " + "\n  ".join(wrong))
    names = home / ".snakemake" / "slurm-runs"
    stop(names.read_text().split() if names.exists() else [])
    write_text(names, f"{executor.run_uuid}\n")
    see_preempted(sys.modules[type(executor).__module__])


# --- what can be had ------------------------------------------------------------------------------


FIELDS = "%P|%l|%m|%c|%G"


def offers(text: str) -> dict[str | None, set[Node]]:
    """The kinds of nodes of each partition, of what `sinfo -h -e -N -o FIELDS` prints; None is the
    default partition.
    """
    found: dict[str | None, set[Node]] = {}
    for line in text.splitlines():
        name, limit, megabytes, cpus, gres = line.split("|")
        gpus = sum(int(n) for n in re.findall(r"\bgpu(?::[^:,(]*[^\d:,(][^:,(]*)?:(\d+)", gres))
        node = Node(minutes(limit), int(megabytes.rstrip("+")), int(cpus.rstrip("+")), gpus)
        found.setdefault(name.rstrip("*"), set()).add(node)
        if name.endswith("*"):
            found.setdefault(None, set()).add(node)
    return found


def minutes(limit: str) -> float:
    """A time limit as Slurm prints it, [DAYS-][[HOURS:]MINUTES:]SECONDS, in minutes."""
    days, _, rest = limit.rpartition("-")
    try:
        parts = [int(days or 0) * 24, *map(int, rest.split(":"))]
    except ValueError:  # infinite, UNLIMITED, n/a
        return float("inf")
    hours, mins, seconds = [0] * (3 - len(parts[1:])) + parts[1:]
    return (parts[0] + hours) * 60 + mins + seconds / 60


def requests(jobs: Iterable[Any]) -> Iterator[Request]:
    """What each attempt of Snakemake's jobs, or groups of jobs, asks for; one job stands for all of
    its rule.
    """
    for job in {j if j.is_group() else j.name: j for j in jobs if not j.is_local}.values():
        for attempt in range(1, job.restart_times + 2):
            job.attempt = attempt
            asked = {k: job.resources.get(k) for k in ("runtime", "mem_mb", "_cores", "gpu")}
            numbers = (v if isinstance(v, int) else 0 for v in asked.values())
            name = f"group {job.name}" if job.is_group() else job.name
            yield Request(name, attempt, job.resources.get("slurm_partition"), *numbers)
        job.attempt = 1


def refused(asked: Iterable[Request], given: dict[str | None, set[Node]]) -> Iterator[str]:
    """A line for each kind of job whose request can't be met: the first attempt that can't."""
    told = set()
    for request in asked:
        problem = _too_much(request, given)
        if problem and request.job not in told:
            told.add(request.job)
            yield f"{request.job}, attempt {request.attempt}: {problem}"


def _too_much(request: Request, given: dict[str | None, set[Node]]) -> str | None:
    nodes = given.get(request.partition)
    if nodes is None:
        there = ", ".join(sorted(filter(None, given)))
        return f"there is no partition {request.partition or 'by default'}; name one of {there}"
    where = f"partition {request.partition}" if request.partition else "the default partition"
    for name, unit in (("minutes", "min"), ("megabytes", "MB"), ("cpus", "CPUs"), ("gpus", "GPUs")):
        asked, most = getattr(request, name), max(getattr(node, name) for node in nodes)
        if asked > most:
            return (
                f"asks for {asked} {unit}, of which {where} gives {most:g} at most, so that Slurm "
                "would let it wait for ever; lower it in set-resources, or the cap in its min()"
            )
    if not any(
        node.megabytes >= request.megabytes
        and node.cpus >= request.cpus
        and node.gpus >= request.gpus
        for node in nodes
    ):
        return (
            f"no single node of {where} has {request.megabytes} MB, {request.cpus} CPUs and "
            f"{request.gpus} GPUs, so that Slurm would let it wait for ever; lower one of them"
        )
    return None


def unwatched(command: str | None, config: str) -> Iterator[str]:
    """A line if the plugin, which asks `command` (squeue or sacct), wouldn't learn of a job's end.

    `config`: what `scontrol show config` prints. squeue forgets a job MinJobAge seconds after its
    end, and sacct knows nothing without a database; in both cases the plugin waits without a word.
    """
    found = dict(re.findall(r"^(\w+) *= (.*)$", config, re.MULTILINE))
    accounted = found.get("AccountingStorageType", "").endswith("slurmdbd")
    age = int(re.match(r"\d*", found.get("MinJobAge", ""))[0] or 0)  # type: ignore[index]
    if command == "sacct" and not accounted:
        yield "this cluster has no accounting, so sacct knows no job: slurm-status-command: squeue"
    if command == "squeue" and age <= LOOKS:
        instead = (
            "set slurm-status-command: sacct" if accounted else "ask its administrator for 300"
        )
        yield (
            f"Slurm forgets a job {age} s after its end (MinJobAge), and up to {LOOKS} s pass "
            f"between two looks at the queue, so its end could be missed: {instead}"
        )


def see_preempted(plugin: Any) -> None:
    """Make the plugin take a job that was cancelled for another's sake for a failed one, which it
    retries; it would wait for such a job for ever, and none is requeued (`slurm-no-requeue`).
    """
    ask = plugin.query_job_status

    async def query_job_status(command: str, logger: Any) -> tuple[dict[str, str] | None, Any]:
        states, seconds = await ask(command, logger)
        if states is not None:
            states = {n: "FAILED" if s == "PREEMPTED" else s for n, s in states.items()}
        return states, seconds

    plugin.query_job_status = query_job_status


# --- what was left there --------------------------------------------------------------------------


def stop(names: list[str]) -> None:
    """Cancel the jobs of former runs, by the names that the plugin gave these, and wait until they
    have gone: cells save their states first.
    """
    if not names:
        return
    queued = ("squeue", "-h", f"--name={','.join(names)}", "-o", "%i")
    left = _ask(*queued).split()
    if left:
        say(
            f"a run that was killed left jobs in Slurm's queue ({', '.join(left)}); they are "
            "stopped, keep their states, and are submitted again"
        )
        _ask("scancel", *left)
    deadline = time.monotonic() + PATIENCE
    while left and time.monotonic() < deadline:
        time.sleep(1)
        left = _ask(*queued).split()
    if left:
        say(f"{', '.join(left)} don't end; what is submitted again waits for them")


def _ask(*command: str) -> str:
    """What a command of Slurm prints; UserError if it can't be asked."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    except FileNotFoundError:
        where = "start on a machine that has Slurm, or with another profile"
        raise UserError(f"{command[0]}: no such command; {where}") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]}: Slurm doesn't answer; wait, and run again") from None
    except subprocess.CalledProcessError as error:
        why = (error.stderr.strip().splitlines() or ["no reason given"])[0]
        why = why.removeprefix(f"{command[0]}: ")
        raise UserError(f"{command[0]}: {why}; wait for Slurm, and run again") from None
    return done.stdout
