"""Our contenders: the engine in its modes, and the plain `torch.func` path as the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional as F

from bench.problem import Contender, Problem, paper, settings
from multistep.fewshot import algorithms, meta
from multistep.fewshot.algorithms import Algorithm
from multistep.fewshot.batched import EpisodeLoss
from multistep.fewshot.episodes import Batch
from multistep.fewshot.settings import FewShot
from multistep.inner.dynamics import SGD, Tensors
from multistep.inner.unroll import Pullback, unroll, unroll_vjp
from multistep.networks.conv4 import Conv4


def method_settings(problem: Problem, method: str) -> FewShot:
    """A method's settings at the problem's size."""
    s = settings(problem.name, method)
    return s.model_copy(update={"meta_batch": problem.s.meta_batch})


def engine(method: str) -> Contender:
    """A method of params.yaml, computed as training computes it."""

    def contender(problem: Problem) -> Tensor:
        gradient = engine_gradient(problem, method, problem.batch)
        return torch.cat([gradient.adapted, gradient.shared])

    return contender


def engine_gradient(problem: Problem, method: str, batch: Batch) -> meta.MetaGradient:
    """The meta-gradient of one batch, with its accounting of kept bytes."""
    algorithm = algorithm_of(method, method_settings(problem, method))
    return meta.meta_gradient(algorithm, problem.network, problem.theta, batch)


def algorithm_of(method: str, s: FewShot) -> Algorithm:
    """The algorithm of a method of params.yaml, with these settings."""
    return algorithms.get(paper().methods[method].algorithm)(s)


def chunk(problem: Problem) -> int:
    """Tasks that go through the network together, as in training."""
    device = problem.theta.adapted.device
    return meta.chunk_size(problem.network, problem.s, device) or problem.batch.tasks


@torch.no_grad()
def recompute(problem: Problem) -> Tensor:
    """Exact MAML that keeps only φ at the window starts and evaluates each gradient twice."""
    network = problem.network
    total = torch.zeros_like(torch.cat([problem.theta.adapted, problem.theta.shared]))
    for part in problem.batch.split(chunk(problem)):
        by_theta, by_shared, _ = recompute_chunk(problem, part, problem.s.inner_steps, 1)
        total += torch.cat(
            [network.sum_tasks(by_theta), network.sum_tasks(by_shared, adapted=False)]
        )
    return total / problem.batch.tasks


@torch.no_grad()
def recompute_chunk(
    problem: Problem, batch: Batch, steps: int, window: int
) -> tuple[Tensor, Tensor, Pullback]:
    """Per-task meta-gradients by θ and by the shared parameters, and the pullback they used."""
    network, theta, s = problem.network, problem.theta, problem.s
    inner = EpisodeLoss(network, theta.shared, batch.support_images, batch.support_labels)
    outer = EpisodeLoss(network, theta.shared, batch.query_images, batch.query_labels)
    phi, pullback = unroll_vjp(
        inner, network.expand(theta.adapted, batch.tasks),
        SGD(s.inner_lr, s.momentum, s.weight_decay), steps=steps, window=window, recompute=True,
    )  # fmt: skip
    query = outer.evaluate(phi)
    by_theta, mixed = pullback(query.by_phi)
    return by_theta, query.by_shared + mixed, pullback


def torch_func(problem: Problem, *, first_order: bool = False) -> Tensor:
    """The definition: `unroll` on `Conv4` under vmap over tasks, autograd outside.

    Chunks as small as the engine's: the graphs of all tasks at once outgrow the caches.
    """
    leaves = {n: p.clone().requires_grad_() for n, p in problem.params.items()}
    query_loss = vmap(_task_loss(problem, leaves, first_order))
    for part in problem.batch.split(chunk(problem)):
        losses = query_loss(
            part.support_images, part.support_labels, part.query_images, part.query_labels
        )
        (losses.sum() / problem.batch.tasks).backward()
    return flat_gradient(problem, leaves)


def _task_loss(problem: Problem, leaves: Tensors, first_order: bool) -> Callable[..., Tensor]:
    """Query loss of one task after its inner loop."""
    network, s = problem.network, problem.s
    module = Conv4(network.config)
    adapted = {n: p for n, p in leaves.items() if network.slots[n].adapted}

    def task_loss(*episode: Tensor) -> Tensor:
        support_images, support_labels, query_images, query_labels = episode

        def loss(phi: Tensors, images: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(module, {**leaves, **phi}, (images,)), labels)

        def support(phi: Tensors) -> Tensor:
            return loss(phi, support_images, support_labels)

        dynamics = SGD(s.inner_lr, s.momentum, s.weight_decay)
        phi, _ = unroll(
            support, adapted, dynamics, steps=s.inner_steps, window=s.window,
            first_order=first_order,
        )  # fmt: skip
        return loss(phi, query_images, query_labels)

    return task_loss


def flat_gradient(problem: Problem, leaves: dict[str, Any]) -> Tensor:
    """`.grad` of named parameters in the layout that all contenders return."""
    return torch.cat(problem.network.pack({n: p.grad for n, p in leaves.items()}))


CONTENDERS: dict[str, Contender] = {
    "ours, exact": engine("maml"),
    "ours, exact, recompute": recompute,
    "ours, multi-step(2)": engine("multistep2"),
    "ours, multi-step(4)": engine("multistep4"),
    "ours, multi-step(8)": engine("multistep8"),
    "ours, first-order": engine("fomaml"),
}
REFERENCE: dict[str, Contender] = {"torch.func reference": torch_func}
