"""The captured meta-iteration on a GPU: its rate beside the eager one's, and that it is right.

Device-agnostic on purpose: on a CPU the same code runs with nothing captured, which is how it is
tried where there is no GPU.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from bench import ours
from bench.agreement import between_devices
from bench.problem import Problem, build
from bench.timing import trainer
from multistep.fewshot.trainer import Trainer

METHODS = ["maml", "multistep2", "multistep4", "multistep8", "fomaml"]


def rates(problem: Problem, iterations: int) -> dict[str, dict[str, float]]:
    """Meta-iterations per second of each method: captured (sampling and Adam included), eager."""
    found = {}
    for method in METHODS:
        replayed, eager = trainer(problem, method), trainer(problem, method)
        found[method] = {
            "captured": _rate(replayed, iterations, eager=False),
            "eager": _rate(eager, max(1, iterations // 10), eager=True),
        }
        replayed.means()  # refuses a run that has diverged
        eager.means()
    return found


def _rate(trainer: Trainer, iterations: int, *, eager: bool) -> float:
    for i in range(3):  # captures the graph, warms up the rest
        _step(trainer, i, eager=eager)
    _synchronize()
    start = time.perf_counter()
    for i in range(3, 3 + iterations):
        _step(trainer, i, eager=eager)
    _synchronize()
    return iterations / (time.perf_counter() - start)


def _step(trainer: Trainer, iteration: int, *, eager: bool) -> None:
    if not eager:
        trainer.step(iteration)
        return
    draw = trainer.sampler.draw(iteration, trainer.s.meta_batch)
    trainer._iterate(draw.to(trainer.device))
    trainer.state["summed"] += 1


def agreement(problem: Problem, iterations: int) -> dict[str, Any]:
    """Relative distances: the device's meta-gradients from the CPU's, task by task, and θ and the
    means after `iterations` captured meta-iterations from the eager ones'.
    """
    images = problem.sampler.images.cpu().unflatten(0, (len(problem.sampler.counts), -1))
    here = build(problem.name, images, problem.s.meta_batch)
    gradients = {m: between_devices(ours.engine(m), problem, here) for m in METHODS}
    captured, eager = trainer(problem, "maml"), trainer(problem, "maml")
    for i in range(iterations):
        _step(captured, i, eager=False)
        _step(eager, i, eager=True)
    a, b = captured.theta.adapted, eager.theta.adapted
    start = problem.theta.adapted
    return {
        "gpu_from_cpu": gradients,
        "iterations": iterations,
        "captured_from_eager": float((a - b).norm() / (b - start).norm()),
        "captured_means": captured.means(),
        "eager_means": eager.means(),
    }


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
