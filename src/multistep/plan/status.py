"""`multistep status`: what of a scale's plan is done, damaged or stale, runs, has stopped, has
failed or waits, and what to type.

It reads files alone, so it also answers over ssh, beside a run, and after a crash.
"""

from __future__ import annotations

import argparse
import fcntl
import shlex
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from multistep import seal
from multistep.files import UserError, read_json
from multistep.job import results
from multistep.plan import cells, params
from multistep.plan.cli import add_files
from multistep.plan.schema import Params
from multistep.plan.unrecorded import OnDisk

STATES = ("done", "running", "failed", "stopped", "waiting")
SELDOM = ("damaged", "stale")
QUIET = ("done", "waiting")  # of which there is nothing to tell
JOBS = 10  # of each other state that are told without --all
LINES = 3  # of the log of what has failed


class Job(NamedTuple):
    """A cell or a measurement of the plan.

    `state` done: its result is there as it was sealed, of the plan's settings and of the data that
    are there (whether it contradicts itself, its readers say); stale: it is of others; damaged: it
    isn't as it was sealed; running: a process holds its lock; failed: it left a log and neither
    result nor state; stopped: it left a state to go on from.
    """

    path: str  # of its result, below the scale's folder
    group: tuple[str, str]  # experiment and dataset, or "measure" and experiment
    dataset: str
    state: str
    log: Path
    mend: str = ""  # what to do about a stale one, with its file


def jobs(plan: Params, home: Path) -> Iterator[Job]:
    """Every cell and measurement of a plan whose scale is built in `home`."""
    beside = OnDisk(home)
    for cell in cells.plan(plan):
        group = (cell.experiment, cell.dataset)
        yield _job(beside, cell.path, group, "train", cell.definition)
    for path, planned in cells.measurements(plan).items():
        yield _job(beside, path, ("measure", planned["experiment"]), "measure", planned)


def _job(
    beside: OnDisk, path: str, group: tuple[str, str], rule: str, planned: Mapping[str, Any]
) -> Job:
    home = beside.home
    stem = path.removeprefix("results/").removeprefix("measure/").removesuffix(".json")
    log = home / "logs" / rule / f"{stem}.log"
    scratch = (home / "scratch" / path).with_suffix(".pt")
    mend = ""
    if (home / path).exists():
        state, mend = _made(home / path, planned, beside)
    elif _held(scratch.with_name(scratch.name + ".lock")):
        state = "running"
    elif scratch.exists():
        state = "stopped"
    else:
        state = "failed" if log.is_file() else "waiting"
    return Job(path, group, planned["dataset"], state, log, mend)


def _made(result: Path, planned: Mapping[str, Any], beside: OnDisk) -> tuple[str, str]:
    """The state of a job whose result is there; of a stale one what to do about it."""
    try:
        record = read_json(result)
        seal.check(result, record)
    except (OSError, UserError):
        return "damaged", ""
    try:
        results.compare(result, record, beside.expected(planned))
    except UserError as error:
        return "stale", str(error)
    except (LookupError, TypeError, AttributeError):  # JSON, but no record
        return "damaged", ""
    return "done", ""


def _held(path: Path) -> bool:
    """Whether a process holds a lock file; asking doesn't take it from anybody."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # also where there are no locks: the file is there while the job runs
        return path.is_file()
    return False


def add_parser(subparsers: Any) -> None:
    """Add `status` to the command line of `multistep`."""
    parser = subparsers.add_parser(
        "status", help="what is done, running, failed", description=__doc__
    )
    add_files(parser)
    parser.add_argument("--all", action="store_true", help="a line for each job")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the state of one scale: counts by experiment, what runs, what failed."""
    plan = params.load(*args.files)
    home = args.files[0].parent / plan.directory
    found = list(jobs(plan, home))
    total = Counter(job.state for job in found)
    known = (*STATES, *(state for state in SELDOM if total[state]))
    counts: dict[tuple[str, str], Counter[str]] = {}
    for job in found:
        counts.setdefault(job.group, Counter())[job.state] += 1
    print(f"scale {plan.scale}, in {home}")
    width = max(len(" ".join(group)) for group in counts)
    for group, states in counts.items():
        said = ", ".join(f"{states[state]:,} {state}" for state in known if states[state])
        print(f"  {' '.join(group):<{width}}  {said}")
    told = Counter[str]()
    for job in found:
        told[job.state] += 1
        if args.all or (job.state not in QUIET and told[job.state] <= JOBS):
            _tell(job)
    for state in known:
        if state not in QUIET and not args.all and (more := total[state] - JOBS) > 0:
            print(f"{state}: {more:,} more; --all names them")
    print(", ".join(f"{total[state]:,} {state}" for state in known), f"of {len(found):,} jobs")
    if total["done"] < len(found) and not total["running"]:
        overlays = f" --configfile {shlex.join(map(str, args.files[1:]))}" if args.files[1:] else ""
        again = " --rerun-incomplete" if total["failed"] or total["stopped"] else ""
        print(f"go on: snakemake{overlays} --cores all{again}")
        resting = Counter(job.dataset for job in found if job.state == "done")
        for dataset, count in resting.items():
            folder = f"data/processed/{dataset}"
            files = (home / folder / name for name in ("images.npy", "dataset.json"))
            if not all(file.is_file() for file in files):
                print(
                    f"    that makes {folder}, which isn't there, and then anew what rests on it: "
                    f"{count:,} done"
                )


def _tell(job: Job) -> None:
    """Print a job, and what to do about it or how its log ends."""
    if job.state == "damaged":
        print(f"damaged: {job.path}; delete it, then it is made again")
    elif job.state == "stale":
        print(f"stale: {job.mend}")
    elif job.state == "done":
        print(f"done: {job.path}")
    else:
        print(f"{job.state}: {job.path}{_age(job.log)}")
        for line in _last(job.log):
            print(f"    {line}")


def _age(log: Path) -> str:
    if not log.is_file():
        return ""
    minutes = (time.time() - log.stat().st_mtime) / 60
    return f" (last line {minutes:,.0f} min ago)" if minutes >= 1 else ""


def _last(log: Path) -> list[str]:
    try:
        with log.open(errors="replace") as file:
            return [line.rstrip() for line in deque(file, LINES) if line.strip()]
    except OSError:
        return []
