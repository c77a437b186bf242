"""Time and memory of one few-shot meta-iteration of every method, over the inner steps.

The data of Figures 2 and 5; each method's own number of inner steps is measured too. On CUDA:
events around the captured meta-iteration, and peak allocated bytes of one uncaptured one. On a
CPU: process time, and the bytes that are kept for the way back, per task.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from multistep.data import prepared
from multistep.data.prepared import Prepared
from multistep.fewshot import algorithms, meta
from multistep.fewshot.record import points
from multistep.fewshot.trainer import Trainer
from multistep.job import device
from multistep.job.measure import interleaved, unit


def measure(
    definition: dict[str, Any], data: Path, network: Path | None, place: torch.device
) -> tuple[dict[str, Any], dict[str, str | None]]:
    """Rows of one experiment on one dataset with their units, and the digests of what was read."""
    dataset = prepared.read(data, definition["dataset"], definition["data"])
    images = torch.from_numpy(dataset.images).to(place)
    methods, tasks = definition["methods"], definition["measure"]["tasks"]
    trainers = {
        (method, steps): _trainer(methods[method], steps, tasks, dataset, images)
        for method, steps in points(definition)
    }
    if place.type == "cuda":  # one step's temporaries at a time, not everybody's
        pool = torch.cuda.graph_pool_handle()
        for trainer in trainers.values():
            trainer.pool = pool

    def timed(trainer: Trainer, number: int) -> float:
        """Of one meta-iteration on episodes that are already drawn."""
        draw = trainer.sampler.draw(number, trainer.s.meta_batch)
        return device.seconds(trainer.device, lambda: trainer.run(draw))

    memory = {key: _memory(trainer, place) for key, trainer in trainers.items()}
    # Round 0 warms up allocators, kernels and graphs.
    rounds = definition["measure"]["rounds"]
    seconds = interleaved(definition["experiment"], trainers, timed, rounds, 1)
    for trainer in trainers.values():
        trainer.means()  # refuses timings of a run that has diverged into infinities
    measured = {
        "unit": unit(place, "bytes saved for backward per task"),
        "rows": [
            {"method": m, "steps": t, "seconds": seconds[m, t], "bytes": memory[m, t]}
            for m, t in trainers
        ],
    }
    return measured, {"dataset": dataset.digest, "network": None}


def _trainer(
    entry: dict[str, Any], steps: int, tasks: int | None, dataset: Prepared, images: torch.Tensor
) -> Trainer:
    """A fresh trainer of one method with `steps` inner steps."""
    changes = {"inner_steps": steps, "meta_batch": tasks or entry["settings"]["meta_batch"]}
    algorithm = algorithms.create(entry["algorithm"], entry["settings"] | changes)
    return Trainer.of(algorithm, dataset, images, ["train"], seed=0)


def _memory(trainer: Trainer, place: torch.device) -> int:
    """Bytes of one meta-iteration, as the module's docstring says."""
    batch = trainer.sampler.batch(0, trainer.s.meta_batch)
    run = partial(meta.meta_gradient, trainer.algorithm, trainer.network, trainer.theta)
    if place.type == "cuda":
        return device.allocated(place, partial(run, batch))
    return run(batch.split(1)[0]).nbytes
