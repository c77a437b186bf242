"""Time and memory of one mini-batch of every method, side by side on the same batches.

The data of Table 1 and Figures 3 and 4. Batches lie on the device before the clock starts, so that
loading is left out, and evaluation with it; the first rounds warm up allocators and kernels and are
left out too. On CUDA: events, and peak allocated bytes. On a CPU: process time, and the bytes that
autograd keeps for the way back at the peak of one mini-batch.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import torch

from multistep.data import image_sets
from multistep.job import device
from multistep.progress import progress
from multistep.transfer.batches import Batch, Batches
from multistep.transfer.learner import Learner
from multistep.transfer.run import learner, located
from multistep.transfer.saved import saved_bytes
from multistep.transfer.settings import Transfer

WARM_UP = 2  # rounds
HELD = 4  # batches that lie ready and are taken in turn


def measure(
    definition: dict[str, Any], data: Path, network: Path | None, place: torch.device
) -> dict[str, Any]:
    """Rows of one experiment on one dataset, their units, and the digests of what was read."""
    images = image_sets.load(data)
    first, *_ = definition["methods"].values()
    shared = Transfer.model_validate(first["settings"])
    batches = Batches(images, "train", shared, place, seed=0)
    held = list(itertools.islice(batches.epoch(0), min(HELD, max(1, len(batches) - 1))))
    learners: dict[str, Learner] = {}
    rates: dict[str, float] = {}
    network_digest = None
    for method, entry in definition["methods"].items():
        s = Transfer.model_validate(entry["settings"])
        rates[method] = s.lr
        learners[method], digest = learner(
            s, entry["algorithm"], len(images.classes), network, 0, place
        )
        network_digest = digest or network_digest
    cuda = place.type == "cuda"
    memory = {}
    for method, each in learners.items():
        with located(f"{definition['experiment']}/{definition['dataset']}/{method}"):
            memory[method] = _memory(each, held[0], rates[method], place)
    seconds: dict[str, list[float]] = {method: [] for method in learners}
    rounds = WARM_UP + definition["measure"]["batches"]
    with progress(definition["experiment"], rounds * len(learners), "mini-batches") as advance:
        for number in range(rounds):
            for method, each in learners.items():
                with located(f"{definition['experiment']}/{definition['dataset']}/{method}"):
                    spent = _time(each, held[number % len(held)], rates[method], place)
                if number >= WARM_UP:
                    seconds[method].append(spent)
                advance(1)
    return {
        "digests": {"dataset_digest": images.digest, "network_digest": network_digest},
        "unit": {
            "time": "CUDA-event seconds" if cuda else "process seconds",
            "memory": "peak allocated bytes" if cuda else "bytes saved for backward",
        },
        "iterations_per_epoch": len(batches),
        "rows": [
            {"method": method, "seconds": seconds[method], "bytes": memory[method]}
            for method in learners
        ],
    }


def _time(each: Learner, batch: Batch, lr: float, place: torch.device) -> float:
    """Seconds of one mini-batch."""
    if place.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        each.step(*batch, lr)
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000
    begin = time.process_time()
    each.step(*batch, lr)
    return time.process_time() - begin


def _memory(each: Learner, batch: Batch, lr: float, place: torch.device) -> int:
    """Bytes of one mini-batch, as the module's docstring says."""
    if place.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(place)
        held = torch.cuda.memory_allocated(place)
        each.step(*batch, lr)
        return device.peak_bytes(place) - held
    with saved_bytes() as peak:
        each.step(*batch, lr)
    return peak()
