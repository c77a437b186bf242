"""How long Snakemake takes to plan 1,000, 10,000 and 100,000 cells, and in how much memory.

`python -m bench.plan [CELLS...]`: a dry run of params.yaml with as many seeds as that takes, in a
copy of the project without any data, so that every job is due. Process seconds and the peak of
resident memory; a line for each size.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZES = (1_000, 10_000, 100_000)


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


def main() -> None:
    """Print the table."""
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    print("| cells | process seconds | peak memory, MB |\n| --: | --: | --: |")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder)
            for name in ("src", "workflow"):
                shutil.copytree(ROOT / name, project / name)
            for name in ("Snakefile", "params.yaml"):
                shutil.copy(ROOT / name, project)
            text, cells = overlay(size)
            (project / "many.yaml").write_text(text, encoding="utf-8")
            command = ["snakemake", "-n", "-q", "all", "--configfile", "many.yaml"]
            pid = os.posix_spawnp(
                "sh", ["sh", "-c", 'cd "$0" && exec "$@" > /dev/null', folder, *command], os.environ
            )
            _, status, used = os.wait4(pid, 0)
            if status:
                raise subprocess.CalledProcessError(status, command)
            unit = 1e6 if sys.platform == "darwin" else 1e3
            seconds = used.ru_utime + used.ru_stime
            print(f"| {cells:,} | {seconds:.1f} | {used.ru_maxrss / unit:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
