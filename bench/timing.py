"""Interleaved timing: whatever else the machine does falls on all contenders alike."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from bench.ours import algorithm_of, method_settings
from bench.problem import Contender, Problem
from multistep.fewshot.trainer import Trainer
from multistep.progress import progress

# contender → clock ("process", "wall", where there is a GPU also "events") → one per round
Times = dict[str, dict[str, list[float]]]


def interleave(jobs: dict[str, Callable[[int], object]], rounds: int, title: str) -> Times:
    """Seconds of every job in `rounds` rounds after one that warms up; jobs get their round."""
    times: Times = {name: {} for name in jobs}
    with progress(title, (rounds + 1) * len(jobs), "runs") as advance:
        for number in range(rounds + 1):
            for name, job in jobs.items():
                gc.collect()  # one contender's garbage isn't another's time
                for clock, seconds in _clocked(job, number).items():
                    if number:
                        times[name].setdefault(clock, []).append(seconds)
                advance(1)
    return times


def _clocked(job: Callable[[int], object], number: int) -> dict[str, float]:
    """Seconds of one call by every clock that there is."""
    cuda = torch.cuda.is_available()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if cuda else []
    _synchronize()
    process, wall = time.process_time(), time.perf_counter()
    for event in events[:1]:
        event.record()
    job(number)
    for event in events[1:]:
        event.record()
    _synchronize()
    found = {"process": time.process_time() - process, "wall": time.perf_counter() - wall}
    if events:
        found["events"] = events[0].elapsed_time(events[1]) / 1000
    return found


def contenders(problem: Problem, contestants: dict[str, Contender], rounds: int) -> Times:
    """Times of one meta-gradient of the whole meta-batch; the batch is made beforehand."""

    def job(contender: Contender) -> Callable[[int], object]:
        return lambda _: contender(problem)

    jobs = {name: job(contender) for name, contender in contestants.items()}
    return interleave(jobs, rounds, problem.name)


def sampling(problem: Problem, methods: list[str], rounds: int) -> Times:
    """Times of drawing and gathering a batch, and of a method's whole meta-iteration with it."""
    trainers = {m: trainer(problem, m) for m in methods}
    jobs: dict[str, Callable[[int], object]] = {
        "sampling": lambda i: problem.sampler.batch(i, problem.s.meta_batch)
    }
    return interleave(jobs | {m: t.step for m, t in trainers.items()}, rounds, "sampling")


def loading(images: Tensor) -> float:
    """Wall seconds for reading all training images from disk, once per cell."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, images.numpy())
        start = time.perf_counter()
        torch.from_numpy(np.load(path, mmap_mode="c")[np.arange(len(images))])
        return time.perf_counter() - start


def trainer(problem: Problem, method: str) -> Trainer:
    """A fresh trainer of a method on the problem's images."""
    algorithm = algorithm_of(method, method_settings(problem, method))
    return Trainer(problem.network, algorithm, problem.sampler, seed=0)


def ratio(times: Times, one: str, other: str, clock: str = "process") -> float:
    """Median over the rounds of one's time over the other's."""
    pairs = zip(times[one][clock], times[other][clock], strict=True)
    return median(a / b for a, b in pairs)


def faster(times: Times, names: list[str], clock: str = "process") -> str:
    """The name with the smallest median."""
    return min(names, key=lambda name: median(times[name][clock]))


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
