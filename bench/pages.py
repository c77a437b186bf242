"""`PYTHONPATH=tests python -m bench.pages`: all pages of a scale from many results, and how long.

The results are made up, of the paper's plan with more seeds, in the form and the length of real
ones. Two ways are timed, each in processes of its own: all pages in one (`multistep report pages`)
and the frame, and, with `--each`, a process a page, as the workflow draws them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from multistep import options
from multistep.files import write_json
from multistep.pages import inputs, load
from multistep.plan import params

ROOT = Path(__file__).resolve().parents[1]


def build(home: Path, seeds: int) -> int:
    """A project with results of every cell for so many seeds; how many files."""
    from page_records import as_written, made_up  # type: ignore[import-not-found]

    shutil.copytree(ROOT / "workflow" / "report", home / "workflow" / "report")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (home / "params.yaml").write_text(
        text.replace("\nseeds: [0, 1, 2]", f"\nseeds: {list(range(seeds))}", 1), encoding="utf-8"
    )
    plan = inputs.Plan.of(params.load(home / "params.yaml"))
    files = [f for f in plan.cells if json.loads(plan.cells[f].json).get("kind") != "candidate"]
    files += plan.measurements
    draw = random.Random(0)
    for file, record in zip(files, made_up(files, plan), strict=True):
        if "episode_accuracies" in record.get("metrics", {}):
            correct = [
                draw.randrange(76) for _ in range(record["cell"]["settings"]["test_episodes"])
            ]
            record["metrics"]["episode_accuracies"] = [n / 0.75 for n in correct]
        write_json(home / file, as_written(record))
    return len(files)


def timed(*command: str) -> tuple[float, float]:
    """Wall and process seconds of a command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "multistep.cli", "report", *command], check=True, stdout=-3
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, used


def main() -> None:
    """Build, time, and print what was found as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument(
        "--seeds", type=options.whole(), default=10, help="of each cell (default 10)"
    )
    parser.add_argument("--each", action="store_true", help="time a process a page too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home, out = Path(folder) / "project", Path(folder) / "out"
        files = build(home, args.seeds)
        found = {"results": files, "cores": os.cpu_count(), "load": os.getloadavg()[0]}
        at = ("--project", str(home), "--out")
        found["pages_seconds"], found["pages_process_seconds"] = timed("pages", *at, str(out))
        frame = str(out / "frame.csv.gz")
        found["frame_seconds"], found["frame_process_seconds"] = timed("frame", *at, frame)
        # In KiB, of the larger of the two.
        found["peak_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        if args.each:
            pages = load.pages(home / "workflow" / "report", params.load(home / "params.yaml"))
            each = [timed("pages", *at, str(out), name) for form in pages.values() for name in form]
            found["each_seconds"], found["each_process_seconds"] = map(sum, zip(*each, strict=True))
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
