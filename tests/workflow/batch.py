"""A small batch system for tests: `batch.py submit ... SCRIPT | status ID | cancel ID...`.

Jobs run on this machine. As real ones do, it kills a job that needs more memory than it asked for:
`$BATCH_FOLDER/needs.json` has the MB that a rule needs. Every submission is kept in jobs.jsonl.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["BATCH_FOLDER"])


def submit(arguments: list[str]) -> None:
    """Start a job in the background and print its number."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rule")
    parser.add_argument("--gpu", type=int)
    parser.add_argument("--mem", type=int)
    parser.add_argument("--minutes", type=int)
    parser.add_argument("script")
    job = vars(parser.parse_args(arguments))
    with open(FOLDER / "jobs.jsonl", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = len(file.readlines()) + 1
        file.write(json.dumps(job) + "\n")
    if os.fork() == 0:
        run(number, job)
        os._exit(0)
    print(number)


def run(number: int, job: dict) -> None:
    """The job's own process: detached, its exit code recorded when it ends."""
    os.setsid()
    log = os.open(FOLDER / f"{number}.log", os.O_WRONLY | os.O_CREAT)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    needed = json.loads((FOLDER / "needs.json").read_text()).get(job["rule"], 0)
    if needed > job["mem"]:
        code = -signal.SIGKILL
    else:
        process = subprocess.Popen(["bash", job["script"]], start_new_session=True)
        while process.poll() is None:
            if (FOLDER / f"{number}.cancel").exists():
                os.killpg(process.pid, signal.SIGTERM)
            time.sleep(0.1)
        code = process.returncode
    part = FOLDER / f"{number}.part"
    part.write_text(str(code))
    part.rename(FOLDER / f"{number}.code")


def status(number: str) -> None:
    """Print running, success or failed."""
    code = FOLDER / f"{number}.code"
    print("running" if not code.exists() else "success" if code.read_text() == "0" else "failed")


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "submit":
        submit(rest)
    elif command == "status":
        status(rest[0])
    else:
        for each in rest:
            (FOLDER / f"{each}.cancel").touch()
