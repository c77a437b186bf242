"""What every few-shot method has in common: θ, a meta-gradient, adaptation, and their chunks."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from multistep.fewshot.batched import BatchedConv4, EpisodeLoss
from multistep.fewshot.episodes import Batch
from multistep.fewshot.settings import FewShot
from multistep.inner.dynamics import SGD
from multistep.inner.unroll import unroll_vjp
from multistep.networks.conv4 import Conv4Config, initial_parameters


@dataclass(frozen=True)
class Theta:
    """Meta-parameters θ as flat vectors: the adapted ones `[P]` (φ₁) and the shared ones `[S]`."""

    adapted: Tensor
    shared: Tensor


@dataclass(frozen=True)
class MetaGradient:
    """d/dθ of the query losses' sum over tasks, each task's query loss and accuracy.

    `nbytes`: what was kept for a way back at the peak, inner windows and query together.
    """

    adapted: Tensor
    shared: Tensor
    loss: Tensor
    accuracy: Tensor
    nbytes: int


class Method(Protocol):
    """A few-shot algorithm: a module of `multistep.fewshot.algorithms` with these functions.

    What it needs beyond the common settings is a class `Options` in it, and `s.options` in a cell.
    """

    def meta_gradient(
        self, network: BatchedConv4, theta: Theta, batch: Batch, s: FewShot
    ) -> MetaGradient:
        """Summed over the tasks of `batch`."""

    def adapt(
        self, network: BatchedConv4, theta: Theta, batch: Batch, s: FewShot, *, window: int
    ) -> Tensor:
        """φ `[tasks·P]` after `test_steps` steps on the support sets: what evaluation uses."""


def load(algorithm: str) -> Method:
    """The module of an algorithm, imported only when named: a cell depends on its own alone."""
    module: Method = importlib.import_module(f"multistep.fewshot.algorithms.{algorithm}")
    return module


def build_network(s: FewShot, size: int, channels: int = 1) -> BatchedConv4:
    """The task-batched network of a cell for square images of `size` pixels."""
    return BatchedConv4(config(s, size, channels), adapt_bn=s.network.adapt_bn)


def config(s: FewShot, size: int, channels: int = 1) -> Conv4Config:
    """The network's definition."""
    settings = s.network.model_dump(exclude={"adapt_bn"})
    return Conv4Config(ways=s.ways, size=size, channels=channels, **settings)


def initial_theta(network: BatchedConv4, seed: int, device: torch.device) -> Theta:
    """θ before training: the same values on every device."""
    flat = network.pack(initial_parameters(network.config, seed))
    return Theta(*(part.to(device) for part in flat))


def dynamics(s: FewShot) -> SGD:
    """The inner optimiser of appendix F."""
    return SGD(s.inner_lr, s.momentum, s.weight_decay)


def chunk_size(network: BatchedConv4, s: FewShot, device: torch.device) -> int | None:
    """Tasks that go through the network together; None is all of them.

    On a CPU as many as keep a map of the first block within 16 MB, so that much of the work stays
    in the caches: measured within 5% of the best size for Omniglot's four settings, and within 20%
    (mostly at the best) for pooled networks from 32×32 to 84×84. A GPU wants them all.
    """
    if device.type == "cuda":
        return None
    return max(1, 16_056_320 // task_bytes(network, s))


def task_bytes(network: BatchedConv4, s: FewShot) -> int:
    """Bytes of the largest map of one task's images, in float32."""
    first = network.config.convolutions[0]
    images = s.ways * (s.shots + s.queries)
    return 4 * images * first.output**2 * network.config.filters


@torch.no_grad()
def meta_gradient(
    method: Method, network: BatchedConv4, theta: Theta, batch: Batch, s: FewShot
) -> MetaGradient:
    """The average meta-gradient of a meta-batch, computed chunk by chunk."""
    size = chunk_size(network, s, theta.adapted.device) or batch.tasks
    parts = [method.meta_gradient(network, theta, part, s) for part in batch.split(size)]
    return MetaGradient(
        adapted=_total([p.adapted for p in parts]) / batch.tasks,
        shared=_total([p.shared for p in parts]) / batch.tasks,
        loss=torch.cat([p.loss for p in parts]),
        accuracy=torch.cat([p.accuracy for p in parts]),
        nbytes=max(p.nbytes for p in parts),
    )


@torch.no_grad()
def adapt_windows(
    network: BatchedConv4, theta: Theta, batch: Batch, s: FewShot, *, window: int
) -> Tensor:
    """`adapt` of the methods whose inner loop is SGD on all of φ."""
    inner = EpisodeLoss(network, theta.shared, batch.support_images, batch.support_labels)
    phi = network.expand(theta.adapted, batch.tasks)
    phi, _ = unroll_vjp(inner, phi, dynamics(s), steps=s.test_steps, window=window, keep=False)
    return phi


@torch.no_grad()
def query_accuracy(
    method: Method, network: BatchedConv4, theta: Theta, batch: Batch, s: FewShot, *, window: int
) -> Tensor:
    """Accuracy of each episode after adaptation, `[tasks]`; the queries are one batch."""
    phi = method.adapt(network, theta, batch, s, window=window)
    outer = EpisodeLoss(network, theta.shared, batch.query_images, batch.query_labels)
    return outer.accuracy(outer.logits(phi))


def _total(parts: list[Tensor]) -> Tensor:
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total
