"""Exact MAML with `higher` and `torchopt`, each as its documentation recommends.

Both loop over the tasks and call backward for each, which accumulates into θ. The network is the
one a user of theirs would write: torch's own convolution and batch-norm kernels (written in
primitive operations batch norm is 10% slower here). γ and β are learned by the outer loop only, so
the inner optimisers get the other parameters alone. Differentiating by γ and β in the inner loop
as well, as `higher` does when it owns the whole module, would make its time quadratic in the
steps.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import higher
import torch
import torchopt
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from bench.ours import flat_gradient
from bench.problem import Contender, Problem
from multistep.networks.conv4 import Conv4Config


class Network(nn.Module):
    """`Conv4` of the same names and values, on torch's batch norm with batch statistics."""

    def __init__(self, config: Conv4Config) -> None:
        super().__init__()
        filters = config.filters
        for i, c in enumerate(config.convolutions, start=1):
            conv = nn.Conv2d(c.channels, filters, c.kernel, c.stride, c.padding)
            norm = nn.BatchNorm2d(filters, config.bn_eps, track_running_stats=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"norm{i}", norm)
        self.head = nn.Linear(filters, config.ways)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(1, 5):
            conv, norm = self.get_submodule(f"conv{i}"), self.get_submodule(f"norm{i}")
            x = F.relu(norm(conv(x)))
        return self.head(x.mean((2, 3)))


def with_higher(problem: Problem) -> Tensor:
    """`higher.get_diff_optim` on the adapted parameters of a monkey-patched network."""
    s, network = problem.s, _network(problem)
    theta = dict(network.named_parameters())
    names = [n for n in theta if problem.network.slots[n].adapted]
    adapted: list[Tensor] = [theta[n] for n in names]
    optimiser = torch.optim.SGD(adapted, s.inner_lr, s.momentum, weight_decay=s.weight_decay)
    functional = higher.monkeypatch(network, copy_initial_weights=False)

    def loss(phi: list[Tensor], images: Tensor, labels: Tensor) -> Tensor:
        merged = {**theta, **dict(zip(names, phi, strict=True))}
        return F.cross_entropy(functional(images, params=list(merged.values())), labels)

    for support_images, support_labels, query_images, query_labels in _tasks(problem):
        inner = higher.get_diff_optim(optimiser, adapted)
        phi = adapted
        for _ in range(s.inner_steps):
            phi = inner.step(loss(phi, support_images, support_labels), params=phi)
        (loss(phi, query_images, query_labels) / problem.batch.tasks).backward()
    return flat_gradient(problem, theta)


def with_torchopt(problem: Problem) -> Tensor:
    """The functional `torchopt.sgd`, updates not in place (as fast as `MetaSGD` here)."""
    s, network = problem.s, _network(problem)
    theta = dict(network.named_parameters())
    names = [n for n in theta if problem.network.slots[n].adapted]
    adapted = tuple(theta[n] for n in names)
    optimiser = torchopt.sgd(s.inner_lr, momentum=s.momentum, weight_decay=s.weight_decay)

    def loss(phi: tuple[Tensor, ...], images: Tensor, labels: Tensor) -> Tensor:
        values = dict(zip(names, phi, strict=True))
        return F.cross_entropy(functional_call(network, values, (images,)), labels)

    for support_images, support_labels, query_images, query_labels in _tasks(problem):
        phi, state = adapted, optimiser.init(adapted)
        for _ in range(s.inner_steps):
            value = loss(phi, support_images, support_labels)
            grads = torch.autograd.grad(value, phi, create_graph=True)
            updates, state = optimiser.update(grads, state, params=phi, inplace=False)
            phi = torchopt.apply_updates(phi, updates, inplace=False)
        (loss(phi, query_images, query_labels) / problem.batch.tasks).backward()
    return flat_gradient(problem, theta)


def _network(problem: Problem) -> Network:
    """The problem's network at θ, without gradients from earlier rounds."""
    network = _build(problem.network.config, problem.theta.adapted.dtype)
    network.to(problem.theta.adapted.device).load_state_dict(problem.params)
    network.zero_grad()
    return network


@functools.cache
def _build(config: Conv4Config, dtype: torch.dtype) -> Network:
    return Network(config).to(dtype)


def _tasks(problem: Problem) -> Iterator[tuple[Tensor, ...]]:
    """Support images and labels, query images and labels of each task."""
    b = problem.batch
    parts = (b.support_images, b.support_labels, b.query_images, b.query_labels)
    return zip(*parts, strict=True)


PEERS: dict[str, Contender] = {"higher": with_higher, "torchopt": with_torchopt}
