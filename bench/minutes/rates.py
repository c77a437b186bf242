"""How much a device does in a second: few-shot meta-iterations, transfer mini-batches, kernels."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version

import torch
from torch.autograd import DeviceType

from bench import agreement, ours
from bench.minutes.checks import (
    FLOAT64,
    WAYS,
    few_shot,
    trainer_of,
    transfer_settings,
)
from bench.minutes.stage import Result, Stage, rate, synchronize
from bench.problem import in_float64
from bench.transfer_problem import Contender as Way
from bench.transfer_problem import images, learner_of, source_network
from multistep.fewshot.trainer import Trainer
from multistep.job import device
from multistep.transfer.learner import Learner

MAIN = ["maml", "fomaml", "multistep2", "multistep4", "multistep8"]
OTHERS = ["5way_5shot", "20way_1shot"]
PEERS = ["higher", "torchopt"]
TRANSFER = ["adam_32", "sgd_32", "sgd_224", "adam_224"]
COMPARED = WAYS[:5]
LARGEST = 10  # kernels by name


def meta_iterations() -> dict[str, Callable[[Stage], Result]]:
    """Rates of all methods, captured and eager, and of the paper's five in other settings."""
    found: dict[str, Callable[[Stage], Result]] = {}
    for method in few_shot():
        found[f"5way_1shot/{method}/captured"] = partial(meta_rate, "5way_1shot", method)
    for experiment in OTHERS:
        for method in MAIN:
            found[f"{experiment}/{method}/captured"] = partial(meta_rate, experiment, method)
    for method in few_shot():
        found[f"5way_1shot/{method}/eager"] = partial(meta_rate, "5way_1shot", method, eager=True)
    return found


def kernels() -> dict[str, Callable[[Stage], Result]]:
    """What the device is busy with, and how much of the time."""
    found: dict[str, Callable[[Stage], Result]] = {
        f"5way_1shot/{method}": partial(meta_kernels, "5way_1shot", method)
        for method in ("maml", "multistep8", "fomaml")
    }
    return found | {
        f"{experiment}/{way.name}": partial(transfer_kernels, experiment, way)
        for experiment in ("adam_32", "sgd_224") for way in (WAYS[1], WAYS[3])
    }  # fmt: skip


def peers() -> dict[str, Callable[[Stage], Result]]:
    """Exact MAML by other libraries, in float64 the same as the reference."""
    return {f"5way_1shot/{name}": partial(peer_rate, "5way_1shot", name) for name in PEERS}


def mini_batches() -> dict[str, Callable[[Stage], Result]]:
    """Transfer at 32 and 224 pixels."""
    return {
        f"{experiment}/{way.name}": partial(transfer_rate, experiment, way)
        for experiment in TRANSFER for way in COMPARED
    }  # fmt: skip


def meta_rate(experiment: str, method: str, stage: Stage, *, eager: bool = False) -> Result:
    """Meta-iterations a second, sampling and Adam included, and those of the device alone, which
    are of one draw again and again.
    """
    trainer, place = _trainer(stage, experiment, method, eager=eager), stage.place
    found: Result = {"tasks": trainer.s.meta_batch, "steps": trainer.s.inner_steps}
    numbers = iter(range(10**9))
    with noting_memory(place, found):
        found["per_second"], found["count"] = rate(
            lambda: trainer.step(next(numbers)), stage.sizes.seconds, place
        )
    trainer.means()  # refuses a run that has diverged
    if not eager:
        replay = trainer.replay or partial(
            trainer.run, trainer.sampler.draw(0, trainer.s.meta_batch)
        )
        found["alone"], _ = rate(replay, stage.sizes.seconds / 2, place)
    return found


def _trainer(stage: Stage, experiment: str, method: str, *, eager: bool = False) -> Trainer:
    made = trainer_of(stage.problem(experiment, method, stage.sizes.tasks), method)
    if eager:
        made.record = None
    return made


@contextlib.contextmanager
def noting_memory(place: torch.device, found: Result) -> Iterator[None]:
    """Note the most bytes that are allocated on a GPU at one time."""
    if place.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(place)
    yield
    found["bytes"] = device.peak_bytes(place) if place.type == "cuda" else None


def meta_kernels(experiment: str, method: str, stage: Stage) -> Result:
    """Of captured meta-iterations."""
    trainer = _trainer(stage, experiment, method)
    numbers = iter(range(10**9))
    return profiled(lambda: trainer.step(next(numbers)), stage)


def transfer_kernels(experiment: str, way: Way, stage: Stage) -> Result:
    """Of mini-batches."""
    step, each = _step(experiment, way, stage)
    found = profiled(step, stage)
    each.settle()
    return found


def profiled(work: Callable[[], object], stage: Stage) -> Result:
    """Kernels of one `work` (operations, on a CPU), the share of the time that they fill, and the
    largest. The time is that of runs without the profiler, which takes some itself.
    """
    place, cuda = stage.place, stage.place.type == "cuda"
    per_second, _ = rate(work, stage.sizes.seconds, place)
    activities = [torch.profiler.ProfilerActivity.CPU]
    runs = 5 if cuda else 1
    with torch.profiler.profile(
        activities=activities + ([torch.profiler.ProfilerActivity.CUDA] if cuda else [])
    ) as profiler:
        for _ in range(runs):
            work()
        synchronize(place)
    found: dict[str, tuple[float, int]] = {}
    for event in profiler.key_averages():
        on_device = event.device_type == DeviceType.CUDA
        seconds = (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e6
        if on_device == cuda and seconds:
            found[event.key] = seconds / runs, event.count
    busy = sum(seconds for seconds, _ in found.values())
    largest = sorted(found, key=lambda name: -found[name][0])[:LARGEST]
    return {
        "per_second": per_second,
        "count": sum(count for _, count in found.values()) / runs,
        "busy": busy * per_second,
        "largest": [[name[:100], found[name][0] / busy, found[name][1] / runs] for name in largest],
    }


def peer_rate(experiment: str, name: str, stage: Stage) -> Result:
    """Meta-gradients a second, of a batch that is there; ours of the same beside it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)
            known = importlib.import_module("bench.peers").PEERS
    except ImportError as error:
        return {"absent": f"not measured ({error.name} isn't installed)"}
    problem = stage.problem(experiment, "maml", stage.sizes.tasks)
    double = in_float64(replace(problem, batch=problem.batch.split(stage.sizes.some)[0]))
    both = [agreement.per_task(c, double) for c in (known[name], ours.torch_func)]
    distance = agreement.summary(*both)["largest"]
    found: Result = {"version": version(name), "distance": distance, "ok": distance <= FLOAT64}
    if found["ok"]:
        seconds, place = stage.sizes.seconds, stage.place
        found["per_second"], _ = rate(lambda: known[name](problem), seconds, place)
        found["ours"], _ = rate(lambda: ours.engine("maml")(problem), seconds, place)
    return found


def transfer_rate(experiment: str, way: Way, stage: Stage) -> Result:
    """Mini-batches a second of a batch that lies on the device."""
    step, each = _step(experiment, way, stage)
    found: Result = {"batch": each.settings.batch_size}
    with noting_memory(stage.place, found):
        found["per_second"], found["count"] = rate(step, stage.sizes.seconds, stage.place)
    each.settle()
    return found


def _step(experiment: str, way: Way, stage: Stage) -> tuple[Callable[[], object], Learner]:
    batch = stage.sizes.batch and max(4, stage.sizes.batch)
    with_source = way if way.method != "scratch" else WAYS[1]
    s, lent = (
        transfer_settings(experiment, w, batch, small=stage.sizes.small)
        for w in (way, with_source)
    )  # fmt: skip
    each = learner_of(s, way.method, source_network(lent, stage.place), stage.place)
    x, y = images(s, stage.place)
    return lambda: each.step(x, y, s.lr), each
