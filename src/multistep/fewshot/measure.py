"""Time and memory of one few-shot meta-iteration of every method, over the inner steps.

The data of Figures 2 and 5; each method's own number of inner steps is measured too. On CUDA:
events around the captured meta-iteration, and peak allocated bytes of one uncaptured one. On a
CPU: process time, and the bytes that are kept for the way back, per task.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from multistep.data import prepared
from multistep.data.prepared import Prepared
from multistep.fewshot import meta
from multistep.fewshot.episodes import Sampler
from multistep.fewshot.settings import FewShot
from multistep.fewshot.trainer import Trainer
from multistep.job import device
from multistep.progress import progress


def measure(
    definition: dict[str, Any], data: Path, network: Path | None, place: torch.device
) -> dict[str, Any]:
    """Rows of one experiment on one dataset, their units, and the digests of what was read."""
    dataset = prepared.load(data)
    images = torch.from_numpy(dataset.images).to(place)
    trainers = {
        (method, steps): _trainer(entry, steps, definition["measure"]["tasks"], dataset, images)
        for method, entry in definition["methods"].items()
        for steps in sorted({*definition["measure"]["steps"], entry["settings"]["inner_steps"]})
        if steps % entry["settings"]["window"] == 0
    }
    if place.type == "cuda":  # one step's temporaries at a time, not everybody's
        pool = torch.cuda.graph_pool_handle()
        for trainer in trainers.values():
            trainer.pool = pool
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in trainers}
    memory = {key: _memory(trainer, place) for key, trainer in trainers.items()}
    rounds = definition["measure"]["rounds"]
    total = (rounds + 1) * len(trainers)
    with progress(definition["experiment"], total, "meta-iterations") as advance:
        for number in range(rounds + 1):
            for key, trainer in trainers.items():
                spent = _time(trainer, number, place)
                if number:  # round 0 warms up allocators, kernels and graphs
                    seconds[key].append(spent)
                advance(1)
    for trainer in trainers.values():
        trainer.means()  # refuses timings of a run that has diverged into infinities
    cuda = place.type == "cuda"
    return {
        "digests": {"dataset_digest": dataset.digest},
        "unit": {
            "time": "CUDA-event seconds" if cuda else "process seconds",
            "memory": "peak allocated bytes" if cuda else "bytes saved for backward per task",
        },
        "rows": [
            {"method": m, "steps": t, "seconds": seconds[m, t], "bytes": memory[m, t]}
            for m, t in trainers
        ],
    }


def _trainer(
    entry: dict[str, Any], steps: int, tasks: int | None, dataset: Prepared, images: torch.Tensor
) -> Trainer:
    """A fresh trainer of one method with `steps` inner steps."""
    s = FewShot.model_validate(entry["settings"])
    s = s.model_copy(update={"inner_steps": steps, "meta_batch": tasks or s.meta_batch})
    network = meta.build_network(s, dataset.size, dataset.channels)
    rows = dataset.rows(["train"])
    sampler = Sampler(images, *rows, s.ways, s.shots, s.queries, s.rotate_train, 0, "train")
    return Trainer(network, meta.load(entry["algorithm"]), sampler, s, seed=0)


def _time(trainer: Trainer, iteration: int, place: torch.device) -> float:
    """Seconds of one meta-iteration on episodes that are already drawn."""
    draw = trainer.sampler.draw(iteration, trainer.s.meta_batch)
    if place.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        trainer.run(draw)
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000
    start_time = time.process_time()
    trainer.run(draw)
    return time.process_time() - start_time


def _memory(trainer: Trainer, place: torch.device) -> int:
    """Bytes of one meta-iteration, as the module's docstring says."""
    batch = trainer.sampler.batch(0, trainer.s.meta_batch)
    if place.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(place)
        held = torch.cuda.memory_allocated(place)  # images and the other trainers
    else:
        batch = batch.split(1)[0]
    gradient = meta.meta_gradient(trainer.method, trainer.network, trainer.theta, batch, trainer.s)
    return device.peak_bytes(place) - held if place.type == "cuda" else gradient.nbytes
