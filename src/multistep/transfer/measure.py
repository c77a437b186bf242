"""Time and memory of one mini-batch of every method, side by side on the same batches.

The data of Table 1 and Figures 3 and 4. Batches lie on the device before the clock starts, so that
loading is left out, and evaluation with it; the first rounds warm up allocators and kernels and are
left out too. On CUDA: events, and peak allocated bytes. On a CPU: process time, and the bytes that
autograd keeps for the way back at the peak of one mini-batch.
"""

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from multistep.data import prepared
from multistep.job import device
from multistep.job.loop import located
from multistep.job.measure import interleaved, unit
from multistep.job.record import name_of
from multistep.transfer import algorithms
from multistep.transfer.batches import Batches
from multistep.transfer.learner import Learner
from multistep.transfer.run import learner
from multistep.transfer.saved import saved_bytes

WARM_UP = 2  # rounds
HELD = 4  # batches that lie ready and are taken in turn


def measure(
    definition: dict[str, Any], data: Path, network: Path | None, place: torch.device
) -> tuple[dict[str, Any], dict[str, str | None]]:
    """Rows of one experiment on one dataset with their units, and the digests of what was read."""
    images = prepared.read(data, definition["dataset"], definition["data"])
    chosen = {
        method: algorithms.create(entry["algorithm"], entry["settings"])
        for method, entry in definition["methods"].items()
    }
    batches = Batches(images, "train", next(iter(chosen.values())).settings, place, seed=0)
    held = list(itertools.islice(batches.epoch(0), min(HELD, max(1, len(batches) - 1))))
    learners: dict[str, Learner] = {}
    network_digest = None
    for method, algorithm in chosen.items():
        learners[method], digest = learner(algorithm, len(images.classes), network, 0, place)
        network_digest = digest or network_digest

    def step(method: str, number: int) -> None:
        with located(f"{name_of(definition)}/{method}"):
            each = learners[method]
            each.step(*held[number % len(held)], each.settings.lr)

    memory = {method: kept_bytes(place, partial(step, method, 0)) for method in learners}
    seconds = interleaved(
        definition["experiment"], {method: method for method in learners},
        lambda method, number: device.seconds(place, lambda: step(method, number)),
        definition["measure"]["batches"], WARM_UP,
    )  # fmt: skip
    measured = {
        "unit": unit(place, "bytes saved for backward"),
        "iterations_per_epoch": batches.count / batches.s.batch_size,
        "rows": [
            {"method": method, "seconds": seconds[method], "bytes": memory[method]}
            for method in learners
        ],
    }
    return measured, {"dataset": images.digest, "network": network_digest}


def kept_bytes(place: torch.device, work: Callable[[], object]) -> int:
    """The most bytes of `work` at one time: on CUDA those that it allocates, on a CPU those that it
    saves for the way back.
    """
    if place.type == "cuda":
        return device.allocated(place, work)
    with saved_bytes() as peak:
        work()
    return peak()
