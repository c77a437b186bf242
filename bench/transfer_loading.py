"""What loading costs: training on photographs read from disk against a batch that is there.

Photographs of about 500 × 375 pixels, each of another size, are cut and resized to 224 × 224 by one
loader thread while the networks train. Their bytes are noise, in the format of prepared sets.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.timing import interleave
from bench.transfer_problem import CLASSES, Contender, learner, settings, source_network
from multistep.data import prepared
from multistep.transfer.batches import Batch, Batches
from multistep.transfer.learner import Learner

EXPERIMENT = "sgd_224"
METHODS = ["scratch", "l2t_multistep"]  # loading weighs most on what is fast
# Images in a mini-batch, mini-batches in a run, images in the set.
SIZES = {"cpu": (2, 2, 64), "cuda": (64, 20, 2560)}


def measure(place: torch.device, rounds: int) -> dict[str, Any]:
    """Times of a run of mini-batches with loading and without, and of loading the whole set."""
    batch, count, total = SIZES[place.type]
    s = settings(EXPERIMENT, Contender("scratch"), batch)
    with tempfile.TemporaryDirectory() as folder:
        found = photographs(Path(folder), total)
        batches = Batches(found, "train", s, place, seed=0, loaders=1)
        source = source_network(settings(EXPERIMENT, Contender(METHODS[-1]), batch), place)
        held = next(iter(batches.epoch(0)))
        jobs: dict[str, Callable[[int], object]] = {}
        for method in METHODS:
            each = learner(EXPERIMENT, Contender(method), source, place, batch)
            jobs[f"{method}/loading"] = loading(each, batches, count)
            jobs[f"{method}/resident"] = resident(each, held, count)
        jobs["loader"] = lambda number: [None for _ in batches.epoch(number)]
        times = interleave(jobs, rounds, "loading")
    return {"batch": batch, "batches": count, "images": total, "times": times}


def loading(each: Learner, batches: Batches, count: int) -> Callable[[int], object]:
    """`count` steps on the last mini-batches of an epoch; waiting for the first of them counts."""

    def job(number: int) -> None:
        for x, y in batches.epoch(number, len(batches) - count):
            each.step(x, y, each.settings.lr)

    return job


def resident(each: Learner, held: Batch, count: int) -> Callable[[int], object]:
    """`count` steps on a mini-batch that is there."""

    def job(number: int) -> None:
        for _ in range(count):
            each.step(*held, each.settings.lr)

    return job


def photographs(folder: Path, count: int) -> prepared.Prepared:
    """A prepared set of noise: long sides 500 pixels, short ones 333 to 417, a third upright."""
    rng = np.random.default_rng(0)
    short = rng.integers(333, 418, count)
    shapes = np.stack([short, np.full(count, 500)], 1)
    shapes[::3] = shapes[::3, ::-1]
    prepared.save(
        folder, name="photographs", classes=[f"class{i}" for i in range(CLASSES)],
        labels=np.arange(count) % CLASSES,
        splits={"train": range(count), "validation": [], "test": []}, shape=shapes,
        images=((i, rng.integers(0, 256, (*shape, 3), np.uint8)) for i, shape in enumerate(shapes)),
    )  # fmt: skip
    return prepared.read(folder)
