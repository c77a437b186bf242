"""The workflow part: how long Snakemake takes to plan 1,000, 10,000 and 100,000 cells, and in how
much memory; how long the demo takes on two cores.

A plan is a dry run of params.yaml with as many seeds as that takes, in a copy of the project
without any data, so that every job is due: process seconds and the peak of resident memory.
`python -m bench.plan [CELLS...]` does that alone, a line for each size.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.markdown import code, table, targets, versions
from multistep.pages.frame import device_name

ROOT = Path(__file__).resolve().parents[1]
SIZES = (1_000, 10_000, 100_000)
LIMITS = {10_000: (25, 350), 100_000: (360, 4000)}  # seconds and MB
DEMO = ["--configfile", "workflow/scales/demo.yaml", "--cores", "2"]
DEMO_LIMIT = 270  # wall seconds, the environment excepted
# In a small process of its own: of a child's peak the system counts in what it was spawned from.
MEASURE = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
peak = used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
print(time.perf_counter() - start, used.ru_utime + used.ru_stime, peak)
"""


def overlay(cells: int) -> tuple[str, int]:
    """An overlay with about so many cells, and how many they are: one with each seed, and 160
    candidates, whose seeds are their own.
    """
    from multistep.plan import params
    from multistep.plan.cells import plan

    base = params.read(ROOT / "params.yaml")
    one = params.merge(base, {"seeds": [0]})
    two = params.merge(base, {"seeds": [0, 1]})
    first, second = (len(plan(params.validate(config))) for config in (one, two))
    seeds = max(1, round((cells - first) / (second - first)) + 1)
    text = f"scale: many\ndirectory: scales/many\nseeds: [{', '.join(map(str, range(seeds)))}]\n"
    return text, first + (seeds - 1) * (second - first)


def dry_run(size: int) -> dict[str, float]:
    """Of about so many cells: how many, process seconds, peak in MB."""
    text, cells = overlay(size)
    found = _snakemake(["-n", "-q", "all", "--configfile", "many.yaml"], {"many.yaml": text})
    return {"size": size, "cells": cells, **found}


def measure() -> dict[str, Any]:
    """All sizes, and the demo."""
    runs = [dry_run(size) for size in SIZES]
    return {"kind": "bench-workflow", "plans": runs, "demo": _snakemake(DEMO, {})}


def _snakemake(arguments: list[str], files: dict[str, str]) -> dict[str, float]:
    """Wall and process seconds of a Snakemake in a copy of the project with more files, and MB."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        for name in ("src", "workflow", "profiles"):
            shutil.copytree(ROOT / name, project / name)
        for name in ("Snakefile", "params.yaml"):
            shutil.copy(ROOT / name, project)
        for name, text in files.items():
            (project / name).write_text(text, encoding="utf-8")
        command = [sys.executable, "-c", MEASURE, "snakemake", *arguments]
        found = subprocess.run(command, stdout=subprocess.PIPE, cwd=folder, check=True)
        wall, process, memory = map(float, found.stdout.split())
        return {"wall": wall, "process": process, "memory": memory}


def rows(record: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Every target with what was measured."""
    found = []
    for run in record["plans"]:
        for i, (what, unit) in enumerate({"process": "seconds", "memory": "MB"}.items()):
            if run["size"] in LIMITS:
                name = f"dry run of {run['cells']:,} cells, {unit}"
                found.append((name, run[what], LIMITS[run["size"]][i]))
    return [*found, ("demo on two cores, seconds", record["demo"]["wall"], DEMO_LIMIT)]


def page(record: dict[str, Any]) -> str:
    """Markdown."""
    env, load = record["environment"], record["load"]
    lines = [
        [f"{run['cells']:,}", f"{run['process']:.1f}", f"{run['memory']:,.0f}"]
        for run in record["plans"]
    ]
    head = ["cells", "process seconds", "peak memory, MB"]
    return (
        f"# Benchmark of the workflow on {device_name(env)}\n\nA dry run (`snakemake -n`) of "
        "params.yaml with more seeds, in a copy without data, and the demo, wall time. Load of the "
        f"{load['cores']} cores: {load['before']:.1f} before, {load['after']:.1f} after; wall "
        f"time counts only where nothing else ran.\n\n{versions(env)}. {code(env)}\n\n"
        f"{targets(rows(record))}\n\n## Plans\n\n{table(head, lines)}\n"
    )


def main() -> None:
    """Print a line for each size."""
    print("| cells | process seconds | peak memory, MB |\n| --: | --: | --: |")
    for size in [int(size) for size in sys.argv[1:]] or SIZES:
        run = dry_run(size)
        print(f"| {run['cells']:,} | {run['process']:.1f} | {run['memory']:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
