"""Small double-precision episodes for the tests of methods that adapt the head alone."""

from __future__ import annotations

from typing import Any

import torch
from helpers import small_params
from torch import Tensor

from multistep.fewshot import algorithms, meta
from multistep.fewshot.batched import BatchedConv4
from multistep.fewshot.episodes import Batch
from multistep.fewshot.settings import FewShot
from multistep.plan.params import cell_settings

Setting = tuple[FewShot, BatchedConv4, meta.Theta, Batch]


def episodes(changes: dict[str, Any], tasks: int = 3) -> Setting:
    """Settings (MAML's of a small cell, changed), network, θ and random 5-way 1-shot episodes.

    A pooled network gets colour pictures of odd size.
    """
    s = cell_settings(small_params(), "5way_1shot", "maml").model_copy(update={"queries": 2})
    net = s.network.model_copy(update=changes.get("network", {}))
    s = s.model_copy(update={"inner_lr": 0.1, **changes, "network": net})
    size, channels = (34, 3) if net.geometry == "pooled" else (28, 1)
    network = meta.build_network(s, size, channels)
    theta = meta.initial_theta(network, 0, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)

    def images(count: int) -> Tensor:
        shape = (tasks, count, channels, size, size)
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    labels = torch.arange(5).expand(tasks, 5).contiguous()
    batch = Batch(images(5), labels, images(10), labels.repeat_interleave(2, 1))
    return s, network, meta.Theta(theta.adapted.double(), theta.shared.double()), batch


def valueless(name: str, setting: Setting) -> tuple[torch.Size, torch.Size]:
    """Shapes of a meta-gradient and of φ, computed on tensors without values.

    What needs a value there (a branch, `.item()`) would stop the capture of a CUDA graph.
    """
    s, network, theta, batch = setting
    theta = meta.Theta(*(t.to("meta") for t in vars(theta).values()))
    batch = Batch(*(t.to("meta") for t in vars(batch).values()))
    gradient = meta_gradient(name, network, theta, batch, s)
    phi = adapt(name, network, theta, batch, s)
    return gradient.adapted.shape, phi.shape


def slope(name: str, setting: Setting, directions: list[Tensor], h: float) -> float:
    """Finite difference of the mean query loss along directions of θ."""
    s, network, theta, batch = setting

    def loss(step: float) -> float:
        moved = [t + step * d for t, d in zip(vars(theta).values(), directions, strict=True)]
        found = meta_gradient(name, network, meta.Theta(*moved), batch, s)
        return found.loss.mean().item()

    return (loss(h) - loss(-h)) / (2 * h)


def directions(theta: meta.Theta) -> list[Tensor]:
    """Random ones of about unit length: few ReLUs change sides within a small step."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(t.shape, generator=generator).double() / 100 for t in vars(theta).values()]


def relative(found: Tensor, expected: Tensor) -> float:
    """Relative distance; 0 of two empty vectors."""
    assert found.shape == expected.shape
    return float((found - expected).norm() / expected.norm()) if expected.numel() else 0.0


def meta_gradient(
    name: str, network: BatchedConv4, theta: meta.Theta, batch: Batch, s: FewShot
) -> meta.MetaGradient:
    """The average meta-gradient of an algorithm with settings `s`."""
    return meta.meta_gradient(algorithms.get(name)(s), network, theta, batch)


@torch.no_grad()
def summed(
    name: str, network: BatchedConv4, theta: meta.Theta, batch: Batch, s: FewShot
) -> meta.MetaGradient:
    """The meta-gradient summed over the tasks."""
    return algorithms.get(name)(s).meta_gradient(meta.Tasks(network, theta, batch))


def adapt(
    name: str, network: BatchedConv4, theta: meta.Theta, batch: Batch, s: FewShot, window: int = 1
) -> Tensor:
    """φ of each task."""
    return meta.adapt(algorithms.get(name)(s), network, theta, batch, window=window)
