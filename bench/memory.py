"""Bytes: saved for the way back by one task, and alive at the peak of a whole meta-iteration.

Saved for the way back: distinct storages that something keeps for a later derivative, at the peak,
the episode's images not counted. The engine counts its own (`MetaGradient.nbytes`); of the peers'
graphs `saved_tensors_hooks` tell. `torch.func` refuses those hooks, so the reference has no such
number. Alive at the peak: all storages that any operation makes, of every contender alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.ours import engine_gradient, recompute_chunk
from bench.problem import Contender, Problem
from multistep.fewshot.batched import EpisodeLoss
from multistep.transfer import saved

# Saved megabytes of one task with 15 queries per class, T = 8: q + (T/n)·s, where q is the graph of
# the query loss and s that of one support gradient and its step. Counted on float32 autograd
# graphs of this network.
MODEL = {
    "5way_1shot": (10.4, 1.723),
    "5way_5shot": (10.45, 6.906),
    "20way_1shot": (40.3, 5.617),
    "20way_5shot": (40.5, 26.36),
}


def model_bytes(experiment: str, windows: int) -> float:
    """Bytes q + K·s for K windows (0: first order)."""
    q, s = MODEL[experiment]
    return (q + windows * s) * 1e6


def engine_bytes(problem: Problem, method: str) -> int:
    """Saved bytes of one task in the engine."""
    return engine_gradient(problem, method, problem.batch.split(1)[0]).nbytes


def recompute_bytes(problem: Problem, steps: int, window: int) -> dict[str, int]:
    """What the recompute mode holds at its peak for one task: φ at the window starts, and the
    larger of the query's activations and one window's tape.
    """
    batch = problem.batch.split(1)[0]
    _, _, pullback = recompute_chunk(problem, batch, steps, window)
    network, theta = problem.network, problem.theta
    phi = network.expand(theta.adapted, 1)
    inner = EpisodeLoss(network, theta.shared, batch.support_images, batch.support_labels)
    outer = EpisodeLoss(network, theta.shared, batch.query_images, batch.query_labels)
    tape = inner.evaluate(phi, keep=True).tape
    assert tape is not None
    activations = max(outer.evaluate(phi).nbytes, tape.nbytes)
    return {"starts": pullback.nbytes, "activations": activations}


def saved_bytes(contender: Contender, problem: Problem) -> int:
    """Saved bytes of one task in a contender that uses autograd, at the peak."""
    batch = problem.batch.split(1)[0]
    own = {t.untyped_storage().data_ptr() for t in vars(batch).values()}
    with saved.saved_bytes(own) as peak:
        contender(replace(problem, batch=batch))
    return peak()


def live_bytes(contender: Contender, problem: Problem) -> int:
    """Bytes of all storages alive at the peak of a meta-iteration, its inputs not counted."""
    with Live() as live:
        contender(problem)
    return live.meter.peak


class Live(TorchDispatchMode):
    """Watches every operation; a storage's end is its last tensor's."""

    def __init__(self) -> None:
        super().__init__()
        self.meter = saved.Meter()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.meter.hold(tensor.untyped_storage(), tensor)
        return result
