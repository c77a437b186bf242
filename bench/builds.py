"""The builds part: whole meta-iterations and mini-batches of transfer of this checkout beside those
of an older commit.

Each build runs in a process of its own (`bench/worker.py`), asked in turn: whatever else the
machine does falls on both alike. The older one's files come out of git.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from bench.markdown import allocator, code, mb, spread, table, targets, versions
from bench.problem import ROOT, settings
from bench.timing import Times, ratio
from multistep.fewshot.convolution import meeting
from multistep.fewshot.meta import config
from multistep.files import UserError
from multistep.pages.frame import device_name
from multistep.progress import progress

COMMIT = "329c0f9"
OLD, NEW, TWO = f"commit {COMMIT}", "this build", "this build, two threads"
# Experiment → its largest share of the older build's process time for exact MAML.
LIMITS = {"5way_1shot": 0.65, "20way_1shot": 0.70, "5way_5shot": 0.70, "mini_5way_1shot": 0.70}
TITLES = {
    "5way_1shot": "5-way 1-shot",
    "20way_1shot": "20-way 1-shot",
    "5way_5shot": "5-way 5-shot",
    "mini_5way_1shot": "pooled network at 84×84",
}
EXACT = "maml"
OTHERS = {  # measured on 5-way 1-shot alone
    "maml_replay": "exact MAML, recomputed",
    "multistep2": "multi-step(2)",
    "multistep4": "multi-step(4)",
    "multistep8": "multi-step(8)",
    "fomaml": "first-order",
    "anil": "ANIL",
    "imaml": "iMAML",
    "memory_reduced": "memory-reduced",
    "reptile": "Reptile",
}
OTHERS_LIMIT, THREADS_LIMIT, BYTES_LIMIT = 0.75, 0.60, 1.0
# Transfer, at the paper's width: its largest share of the older build's time for L2T-ww, and of
# multi-step's time in L2T-ww's, by scheme.
TRANSFER, IMAGES = {"sgd_32": 0.90, "adam_32": 0.85}, 32
TRANSFER_TITLES = {"sgd_32": "SGD", "adam_32": "Adam"}
TRANSFER_METHODS = {"l2t": "L2T-ww", "l2t_multistep": "multi-step"}
SCHEMES, ESTIMATE_LIMIT = {"keep": "kept", "replay": "replayed"}, 0.70
ESTIMATED, RUNS = "adam_32", 3  # that ratio's experiment, and how often it is to hold
DRIFT = 0.01  # of the first meta-iteration's loss between builds: not the same computation


class Build:
    """A worker on one checkout."""

    def __init__(self, root: Path, threads: int, tasks: int | None, experiments: list[str]) -> None:
        command = [sys.executable, str(ROOT / "bench" / "worker.py"), str(root), str(threads)]
        self.process = subprocess.Popen(
            [*command, str(tasks or 0), *experiments], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, cwd=root,
        )  # fmt: skip
        self._read("ready")

    def run(self, experiment: str, method: str) -> dict[str, Any]:
        """One meta-iteration: seconds by clock, means, and the bytes of the first."""
        assert self.process.stdin is not None
        print(experiment, method, file=self.process.stdin, flush=True)
        found: dict[str, Any] = json.loads(self._read(f"{experiment} {method}"))
        return found

    def close(self) -> None:
        """End the worker."""
        self.process.communicate()

    def _read(self, wanted: str) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.close()
            raise UserError(f"the benchmark's worker stopped at {wanted!r}: see its message above")
        return line


def measure(place: torch.device, rounds: int, tasks: int | None) -> dict[str, Any]:
    """Times of both builds, and of this one on two threads; a task's bytes."""
    if place.type != "cpu":
        raise UserError("builds are compared on a CPU: leave --device out")
    jobs = {e: [EXACT, *(OTHERS if e == "5way_1shot" else {})] for e in LIMITS}
    with tempfile.TemporaryDirectory() as folder:
        archive = ["git", "-C", str(ROOT), "archive", COMMIT, "src", "bench", "params.yaml"]
        files = subprocess.run(archive, capture_output=True)
        if files.returncode:
            raise UserError(f"commit {COMMIT} is not in this checkout: fetch its whole history")
        subprocess.run(["tar", "x", "-C", folder], input=files.stdout, check=True)
        builds = {
            OLD: Build(Path(folder), 1, tasks, list(LIMITS)),
            NEW: Build(ROOT, 1, tasks, list(LIMITS)),
            TWO: Build(ROOT, 2, tasks, ["5way_1shot"]),
        }
        found = {e: {m: _interleave(builds, e, m, rounds) for m in ms} for e, ms in jobs.items()}
        for build in builds.values():
            build.close()
        learners = {
            name: Build(root, 1, IMAGES, list(TRANSFER))
            for name, root in ((OLD, Path(folder)), (NEW, ROOT))
        }
        methods = [f"{m}/{scheme}" for scheme in SCHEMES for m in TRANSFER_METHODS]
        transfer = {e: _interleaved(learners, e, methods, rounds) for e in TRANSFER}
        again = []
        for _ in range(RUNS - 1):
            learners[NEW].close()
            learners[NEW] = Build(ROOT, 1, IMAGES, [ESTIMATED])
            again.append(_interleaved({NEW: learners[NEW]}, ESTIMATED, methods, rounds))
        for build in learners.values():
            build.close()
    return {
        "kind": "bench-builds", "commit": COMMIT, "tasks": tasks, "experiments": found,
        "transfer": transfer, "again": again,
        "bound": {e: gflop(e, tasks) for e in LIMITS}, "rates": rates(),
    }  # fmt: skip


def gflop(experiment: str, tasks: int | None) -> float:
    """Floating-point operations of exact MAML's meta-iteration, in 10⁹: two for each multiply-add
    of its convolutions, beyond the border none. Of an image a gradient takes three products and a
    Hessian-vector product six (Conv4's first layer: two and two, its input doesn't move).
    """
    s = settings(experiment, "maml")
    size, channels = (84, 3) if experiment.startswith("mini") else (28, 1)
    first, *rest = (
        sum(len(here) for here, _ in meeting(c)) * c.channels * s.network.filters
        for c in config(s, size, channels).convolutions
    )
    step = (4 * first + 9 * sum(rest)) * s.ways * s.shots
    query = (2 * first + 3 * sum(rest)) * s.ways * s.queries
    return 2e-9 * min(tasks or s.meta_batch, s.meta_batch) * (s.inner_steps * step + query)


def rates() -> dict[str, float]:
    """What one thread reaches here, best of ten: GFLOP/s of a product of 1024×1024 matrices, and
    GB/s, read and written, of copies of 1 and of 64 MB.
    """
    a, out = torch.ones(1024, 1024), torch.empty(1024, 1024)
    found = {"product": 2 * 1024**3 / _best(lambda: torch.mm(a, a, out=out))}
    for size in (1, 64):
        source, place = torch.ones(size * 2**18), torch.empty(size * 2**18)
        found[f"copy of {size} MB"] = size * 2**21 / _best(partial(place.copy_, source))
    return {name: rate / 1e9 for name, rate in found.items()}


def _best(job: Callable[[], object]) -> float:
    """Smallest process seconds of ten calls."""
    seconds = []
    for _ in range(10):
        start = time.process_time()
        job()
        seconds.append(time.process_time() - start)
    return min(seconds)


def _interleave(
    builds: dict[str, Build], experiment: str, method: str, rounds: int
) -> dict[str, Any]:
    """Times of one method by build, after a round that warms up and compares the builds."""
    both = {n: b for n, b in builds.items() if n != TWO or (experiment, method) == ONE_CELL}
    return _interleaved(both, experiment, [method], rounds)[method]


def _interleaved(
    builds: dict[str, Build], experiment: str, methods: list[str], rounds: int
) -> dict[str, dict[str, Any]]:
    """The same of several methods in turn."""
    times: dict[str, Times] = {m: {b: {"process": [], "wall": []} for b in builds} for m in methods}
    first: dict[str, dict[str, Any]] = {method: {} for method in methods}
    count = (rounds + 1) * len(builds) * len(methods)
    with progress(f"{experiment} {' '.join(methods)}", count, "runs") as advance:
        for number, method in itertools.product(range(rounds + 1), methods):
            for name, build in builds.items():
                run = build.run(experiment, method)
                first[method].setdefault(name, run)
                for clock, seconds in times[method][name].items():
                    seconds += [run[clock]] if number else []
                advance(1)
    found = {}
    for method, runs in first.items():
        losses = {name: run["means"]["train_loss"] for name, run in runs.items()}
        low, high = min(losses.values()), max(losses.values())
        found[method] = {
            "times": times[method],
            "bytes": {name: run["bytes"] for name, run in runs.items()},
            "losses": losses,
            # Reptile's draws and second moments were mended since: another computation.
            "same": high - low <= DRIFT * high,
        }
    return found


ONE_CELL = ("5way_1shot", EXACT)


def rows(record: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Every target with what was measured."""
    found = record["experiments"]
    rows: list[tuple[str, float, float]] = []
    for e, limit in LIMITS.items():
        rows.append((f"exact MAML, {TITLES[e]}: time", _share(found[e][EXACT]), limit))
    times = found["5way_1shot"][EXACT]["times"]
    name = "exact MAML, 5-way 1-shot: wall time of two threads / one"
    rows.append((name, ratio(times, TWO, NEW, "wall"), THREADS_LIMIT))
    for method, title in OTHERS.items():
        name = f"{title}, 5-way 1-shot: time"
        rows.append((name, _share(found["5way_1shot"][method]), OTHERS_LIMIT))
    kept = max(m["bytes"][NEW] / m["bytes"][OLD] for ms in found.values() for m in ms.values())
    rows.append(("bytes kept per task, largest of all methods", kept, BYTES_LIMIT))
    return rows + _transfer_rows(record)


def page(record: dict[str, Any]) -> str:
    """Markdown."""
    env, found = record["environment"], record["experiments"]
    times = found["5way_1shot"][EXACT]["times"]
    size = record["tasks"] or "the paper's number of"
    load = record["load"]
    limits = record["bound"], record["rates"]
    return (
        f"# This build beside commit {record['commit']} on {device_name(env)}\n\n"
        f"Whole meta-iterations (gathering and Adam included) of {size} tasks. Each build is a "
        f"process of its own, asked in turn: {record['rounds']} rounds after a warm-up, process "
        "CPU time of one thread, medians (smallest–largest); ratios are taken round by round. "
        f"The images are stand-ins. Load of the {load['cores']} cores: {load['before']:.1f} "
        f"before, {load['after']:.1f} after; wall times count only where nothing else ran.\n\n"
        f"{versions(env)}. {allocator(record)} {code(env)}\n\n"
        f"{targets(rows(record))}\n\n## Times and bytes\n\n"
        + table(
            ["experiment", "method", "old, s", "new, s", "new / old", "old, MB", "new, MB", "same"],
            [
                [
                    TITLES[e],
                    {EXACT: "exact MAML", **OTHERS}[method],
                    spread(m["times"][OLD]["process"]),
                    spread(m["times"][NEW]["process"]),
                    f"{_share(m):.3f}",
                    mb(m["bytes"][OLD]),
                    mb(m["bytes"][NEW]),
                    "yes" if m["same"] else "no",
                ]
                for e, methods in found.items()
                for method, m in methods.items()
            ],
        )
        + "\n\nMB: kept for the way back per task. Same: whether the first meta-iteration's loss "
        f"is the older build's to {DRIFT:.0%}; where not, the method itself was mended since. "
        f"Two threads: {median(times[TWO]['wall']):.3f} s of wall time beside "
        f"{median(times[NEW]['wall']):.3f} s.\n\n" + _transfer(record["transfer"])
        + "## The bound\n\n" + _bound(found, *limits)
    )  # fmt: skip


def _transfer_rows(record: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Targets of meta-transfer."""
    found, rows = record["transfer"], []
    for e, limit in TRANSFER.items():
        name = f"L2T-ww at 32×32, {TRANSFER_TITLES[e]}: time, kept and replayed the larger"
        rows.append((name, max(_share(found[e][f"l2t/{s}"]) for s in SCHEMES), limit))
    runs = [found[ESTIMATED], *record["again"]]
    for scheme, title in SCHEMES.items():
        shares = []
        for run in runs:
            one, other = (run[f"{m}/{scheme}"]["times"][NEW] for m in TRANSFER_METHODS)
            shares.append(ratio({"one": other, "other": one}, "one", "other"))
        of = f"the largest of {len(runs)} runs"
        name = f"transfer at 32×32, Adam, {title}: multi-step / L2T-ww, {of}"
        rows.append((name, max(shares), ESTIMATE_LIMIT))
    return rows


def _transfer(found: dict[str, Any]) -> str:
    """Times of meta-transfer's mini-batches."""
    rows = []
    for e, methods in found.items():
        for method, m in methods.items():
            name, scheme = method.split("/")
            taken = [spread(m["times"][build]["process"]) for build in (OLD, NEW)]
            kept = [mb(m["bytes"][build]) for build in (OLD, NEW)]
            title = f"{TRANSFER_METHODS[name]}, {SCHEMES[scheme]}"
            same = "yes" if m["same"] else "no"
            rows.append([TRANSFER_TITLES[e], title, *taken, f"{_share(m):.3f}", *kept, same])
    head = ["optimizer", "method", "old, s", "new, s", "new / old", "old, MB", "new, MB", "same"]
    return (
        f"## Meta-transfer\n\nMini-batches of {IMAGES} images of 32×32 pixels, ResNet-32 → VGG-9 "
        f"at the paper's width.\n\n{table(head, rows)}\n\n"
    )


def _bound(found: dict[str, Any], work: dict[str, float], reached: dict[str, float]) -> str:
    """What exact MAML's multiply-adds alone would take at the rate of a matrix product."""
    rows = []
    for e, operations in work.items():
        least, taken = (
            operations / reached["product"],
            median(found[e][EXACT]["times"][NEW]["process"]),
        )
        rows.append(
            [TITLES[e], f"{operations:.1f}", f"{least:.3f}", f"{taken:.3f}", f"{least / taken:.2f}"]
        )
    copies = " and ".join(f"{reached[n]:.0f} GB/s (a {n})" for n in reached if n != "product")
    return (
        f"This machine's own matrix product reaches {reached['product']:.0f} GFLOP/s on one "
        f"thread, its memory {copies}. The convolutions' multiply-adds alone take at least:\n\n"
        + table(["exact MAML", "GFLOP", "bound, s", "new, s", "bound / new"], rows)
        + "\n"
    )


def _share(found: dict[str, Any]) -> float:
    return ratio(found["times"], NEW, OLD)
