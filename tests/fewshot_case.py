"""An algorithm at work on small episodes in float64, and the same episodes one by one for autograd.

`tests/fewshot/test_<algorithm>.py` has for each algorithm

    CASES      changes of its settings in params.yaml that it is compared under
    reference  (case) -> (by adapted, by shared, query losses): the tasks' mean meta-gradient,
               computed as naively as can be; where the algorithm has meta-parameters of its own,
               a fourth: by each of them, {name: gradient}
    SLOPES     (if it has any) changes under which it is compared with finite differences, too
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from helpers import ROOT, SMALL, small_params
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from multistep.fewshot import algorithms, meta
from multistep.fewshot.batched import BatchedConv4
from multistep.fewshot.episodes import Batch
from multistep.fewshot.settings import FewShot
from multistep.networks.conv4 import Conv4
from multistep.plan.params import Params, cell_settings, merge, read, validate

Reference = tuple[Tensor, Tensor, Tensor]


def parts(theta: meta.Theta) -> tuple[Tensor, Tensor]:
    """Its vectors, without what an algorithm has beside them."""
    return theta.adapted, theta.shared


def beside(theta: meta.Theta) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is carried, and what is learned."""
    return theta.carried, theta.learned


@cache
def params() -> Params:
    """Small, with the methods that overlays add (`multistep init method` begins such), as small as
    one of params.yaml that has options of the same names.
    """
    small, overlays = small_params(), (ROOT / "workflow/scales").glob("*.yaml")
    added = {n: m for file in overlays for n, m in (read(file).get("methods") or {}).items()}
    options_of = {n: m.settings.get("options") for n, m in small.methods.items()}
    like = {frozenset(options): n for n, options in options_of.items() if options}
    whole = SMALL["methods"]["multistep8"]  # whole windows in few steps
    methods = {
        name: merge(method, SMALL["methods"].get(like.get(frozenset(options)), whole))
        for name, method in added.items()
        if "algorithm" in method and name not in small.methods
        for options in [method["settings"].get("options", ())]
    }
    return validate(merge(small.model_dump(), {"methods": methods}))


def settings(name: str, changes: dict[str, Any] | None = None) -> FewShot:
    """Those of the first method with this algorithm in params.yaml, changed; or MAML's."""
    users = [m for m, method in params().methods.items() if method.algorithm == name]
    s = cell_settings(params(), "5way_1shot", users[0] if users else "maml")
    small = {"queries": 3, "inner_lr": min(s.inner_lr, 0.1)}
    return type(s).model_validate(merge(s.model_dump() | small, changes or {}))


@dataclass(frozen=True)
class Plain:
    """One task's losses on the plain module, as functions of flat vectors (adapted, shared)."""

    network: BatchedConv4
    module: Conv4
    episode: tuple[Tensor, ...]  # support images and labels, query images and labels, seed

    def support(self, phi: Tensor, shared: Tensor) -> Tensor:
        return self.loss(phi, shared, *self.episode[:2])

    def query(self, phi: Tensor, shared: Tensor) -> Tensor:
        return self.loss(phi, shared, *self.episode[2:4])

    def loss(self, phi: Tensor, shared: Tensor, x: Tensor, y: Tensor) -> Tensor:
        params = self.network.unpack(phi, shared)
        return F.cross_entropy(functional_call(self.module, params, (x,)), y)


@dataclass(frozen=True)
class Case:
    algorithm: algorithms.Algorithm
    network: BatchedConv4
    theta: meta.Theta
    batch: Batch

    @property
    def settings(self) -> FewShot:
        return self.algorithm.settings

    @property
    def tasks(self) -> meta.Tasks:
        return meta.Tasks(self.network, self.theta, self.batch)

    @property
    def head(self) -> int:
        """Where the head begins in the adapted parameters."""
        return self.network.slots["head.weight"].start

    def but(self, **changes: Any) -> Case:
        """With other settings."""
        new = type(self.settings).model_validate(merge(self.settings.model_dump(), changes))
        return dataclasses.replace(self, algorithm=type(self.algorithm)(new))

    def at(self, theta: meta.Theta) -> Case:
        return dataclasses.replace(self, theta=theta)

    def on(self, batch: Batch) -> Case:
        return dataclasses.replace(self, batch=batch)

    def permuted(self, order: Sequence[int]) -> Case:
        return self.on(Batch(*(t[list(order)] for t in vars(self.batch).values())))

    def to(self, where: str | torch.dtype) -> Case:
        """With θ and the images of another type or on another device."""

        def moved(t: Tensor) -> Tensor:
            kept = isinstance(where, torch.dtype) and not t.is_floating_point()
            return t if kept else t.to(where)

        own = ({n: moved(t) for n, t in of.items()} for of in beside(self.theta))
        theta = meta.Theta(*map(moved, parts(self.theta)), *own)
        return self.at(theta).on(Batch(*map(moved, vars(self.batch).values())))

    def gradient(self) -> meta.MetaGradient:
        return meta.meta_gradient(self.algorithm, self.network, self.theta, self.batch)

    def adapt(self, window: int = 1) -> Tensor:
        return meta.adapt(self.algorithm, self.network, self.theta, self.batch, window=window)

    def plain(self) -> list[Plain]:
        """The tasks one by one."""
        module = Conv4(self.network.config)
        episodes = zip(*vars(self.batch).values(), strict=True)
        return [Plain(self.network, module, episode) for episode in episodes]

    def per_task(self, phi: Tensor) -> list[Tensor]:
        """φ `[tasks·P]` as one vector `[P]` per task."""
        return per_task(self.network, phi, self.batch.tasks)

    def differentiated(self, outer: Callable[[Plain, Tensor, Tensor], Tensor]) -> Reference:
        """The mean over tasks of autograd's gradients of `outer(task, adapted, shared)`."""
        leaves = [t.clone().requires_grad_() for t in parts(self.theta)]
        losses = torch.stack([outer(plain, *leaves) for plain in self.plain()])
        adapted, shared = torch.autograd.grad(losses.mean(), leaves, materialize_grads=True)
        return adapted, shared, losses.detach()

    def directions(self) -> meta.Theta:
        """Of about unit length: few ReLUs change sides within a small step."""
        generator = torch.Generator().manual_seed(1)
        drawn = (torch.randn(t.shape, generator=generator) for t in parts(self.theta))
        return meta.Theta(*(t.double() / 100 for t in drawn))

    def slope(self, along: meta.Theta, h: float = 1e-6) -> float:
        """Finite difference of the mean query loss along `along`."""

        def loss(step: float) -> float:
            pairs = zip(parts(self.theta), parts(along), strict=True)
            moved = meta.Theta(*(t + step * d for t, d in pairs), *beside(self.theta))
            return self.at(moved).gradient().loss.mean().item()

        return (loss(h) - loss(-h)) / (2 * h)


def case(
    name: str, changes: dict[str, Any] | None = None, *, tasks: int = 3, beta: float = 0.0
) -> Case:
    """An algorithm, a small network with about `beta` for batch norm's β, and random episodes.

    Every episode has its own labels. A pooled network gets colour pictures of odd size.
    """
    algorithm = algorithms.get(name)(settings(name, changes))
    s = algorithm.settings
    size, channels = (34, 3) if s.network.geometry == "pooled" else (28, 1)
    network = meta.build_network(s, size, channels)
    generator = torch.Generator().manual_seed(0)
    noise = partial(torch.randn, generator=generator, dtype=torch.float64)
    params = network.unpack(*parts(meta.initial_theta(network, 0, torch.device("cpu"))))
    moved = {n: p.double() + 0.05 * noise(*p.shape) for n, p in params.items()}
    for n in (n for n in moved if n.startswith("norm") and n.endswith("bias")):
        moved[n] += beta
    names = torch.stack([torch.randperm(s.ways, generator=generator) for _ in range(tasks)])
    episodes: list[Tensor] = []
    for count in (s.shots, s.queries):
        episodes.append(noise(tasks, s.ways * count, channels, size, size).abs())
        episodes.append(names.repeat_interleave(count, 1))
    begun = beside(meta.start(algorithm, network, 0, torch.device("cpu")))
    theta = meta.Theta(
        *network.pack(moved), *({n: t.double() for n, t in of.items()} for of in begun)
    )
    return Case(algorithm, network, theta, Batch(*episodes, torch.arange(tasks)))


def per_task(network: BatchedConv4, flat: Tensor, tasks: int) -> list[Tensor]:
    """φ `[tasks·P]` as one vector `[P]` per task, parameter after parameter."""
    slots = sorted((s for s in network.slots.values() if s.adapted), key=lambda s: s.start)
    blocks = [flat[tasks * s.start : tasks * s.stop].view(tasks, -1) for s in slots]
    return list(torch.cat(blocks, 1))


def descent(
    plain: Plain, phi: Tensor, shared: Tensor, s: FewShot, *,
    moving: Tensor | float = 1.0, first_order: bool = False,
) -> Tensor:  # fmt: skip
    """T steps of eq. 5 on the support loss, as the textbook has them, one gradient per window.

    `moving`: 1 for the entries of φ that move, 0 for the others.
    """
    v = torch.zeros_like(phi)
    for t in range(s.inner_steps):
        if t % s.window == 0:
            loss = plain.support(phi, shared)
            (g,) = torch.autograd.grad(loss, phi, create_graph=not first_order)
        v = s.momentum * v + moving * (g + s.weight_decay * phi)
        phi = phi - s.inner_lr * v
    return phi


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relative(found: Tensor, expected: Tensor) -> float:
    """Relative distance; 0 of two empty vectors, and of two that are zero."""
    assert found.shape == expected.shape
    distance = float((found - expected).norm())
    return distance / float(expected.norm()) if distance else 0.0
