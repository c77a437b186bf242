"""Memory-reduced meta-learning: exact on a quadratic, and against dense Hessians on a network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fewshot_episodes import (
    Setting,
    adapt,
    directions,
    episodes,
    meta_gradient,
    relative,
    slope,
    valueless,
)
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from multistep.fewshot import meta
from multistep.fewshot.algorithms.memory_reduced import response
from multistep.fewshot.batched import EpisodeLoss
from multistep.fewshot.episodes import Batch
from multistep.fewshot.head import HeadLoss, read_head
from multistep.files import UserError
from multistep.inner.dynamics import SGD
from multistep.inner.unroll import unroll_vjp
from multistep.networks.conv4 import Conv4

OPTIONS: dict[str, Any] = {
    "cg_steps": 20,
    "cg_tolerance": 1e-8,
    "ridge": 0.1,
    "cache_features": True,
}
PLAIN: dict[str, Any] = {"momentum": 0.0, "weight_decay": 0.0, "inner_lr": 0.1, "options": OPTIONS}
# The inner problem is strongly convex and small enough to be solved to rounding by gradient steps.
SOLVED = PLAIN | {
    "inner_lr": 0.3,
    "inner_steps": 1000,
    "options": OPTIONS | {"cg_steps": 60, "cg_tolerance": 1e-14},
}


class Quadratic:
    """g(x, y) = yᵀAy/2 - yᵀBx, for every task its A and B; an `Objective` over y."""

    def __init__(self, a: Tensor, b: Tensor, x: Tensor) -> None:
        self.a, self.b, self.x = a, b, x

    def gradient(self, y: Tensor, *, keep: bool) -> tuple[Tensor, Tensor | None]:
        return torch.einsum("tij,tj->ti", self.a, y) - self.b @ self.x, y if keep else None

    def hessian_product(self, tape: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        return torch.einsum("tij,tj->ti", self.a, u), -torch.einsum("tij,ti->tj", self.b, u)


def test_outer_iterations_reach_the_exact_solution_of_a_bilevel_quadratic() -> None:
    """f = ‖y - c‖²/2 + ‖x - d‖²/2, whose mean over tasks is least where (I + mean MᵀM) x =
    d + mean Mᵀc with M = A⁻¹B.
    """
    generator = torch.Generator().manual_seed(0)
    tasks, q, p = 4, 5, 3

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    root = normal(tasks, q, q) / 3
    a = root @ root.transpose(1, 2) + 0.5 * torch.eye(q)
    b, c, d = normal(tasks, q, p) / 2, normal(tasks, q), normal(p)
    m = torch.linalg.solve(a, b)
    square = (m.transpose(1, 2) @ m).mean(0) + torch.eye(p, dtype=torch.float64)
    solution = torch.linalg.solve(square, d + torch.einsum("tij,ti->tj", m, c).mean(0))
    rate = 1 / torch.linalg.eigvalsh(square)[-1]

    x = torch.zeros(p, dtype=torch.float64)
    for iteration in range(150):
        g = Quadratic(a, b, x)
        start = torch.zeros(tasks, q, dtype=torch.float64)
        y, _ = unroll_vjp(g, start, SGD(0.4), steps=130, keep=False)
        hypergradient = x - d + response(g, y, y - c, q, 1e-14).mean(0)
        if iteration == 0:  # from x = 0: the gradient of the reduced problem in closed form
            assert relative(hypergradient, square @ (x - solution)) < 1e-11
        x = x - rate * hypergradient
    assert relative(x, solution) < 1e-10


def implicit_gradient(setting: Setting, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    """By θ, with y* by Newton's method and dense Hessians by autograd on the plain module."""
    _, network, theta, batch = setting
    module = Conv4(network.config)
    leaves = {n: p.requires_grad_() for n, p in network.unpack(*vars(theta).values()).items()}
    body = {n: p for n, p in leaves.items() if not n.startswith("head")}
    shape = leaves["head.weight"].shape
    totals = {n: torch.zeros_like(p) for n, p in leaves.items()}
    losses = []
    for xs, ys, xq, yq in zip(*vars(batch).values(), strict=True):

        def cross_entropy(x: Tensor, labels: Tensor, y: Tensor) -> Tensor:
            weight, bias = y.split([shape.numel(), shape[0]])
            head = {"head.weight": weight.view(shape), "head.bias": bias}
            return F.cross_entropy(functional_call(module, {**body, **head}, (x,)), labels)

        def g(y: Tensor, xs: Tensor = xs, ys: Tensor = ys) -> Tensor:
            return cross_entropy(xs, ys, y) + ridge / 2 * y.square().sum()

        y = torch.zeros(shape.numel() + shape[0], dtype=torch.float64)
        for _ in range(20):
            y = y.detach().requires_grad_()
            (first,) = torch.autograd.grad(g(y), y)
            y = y - torch.linalg.solve(torch.autograd.functional.hessian(g, y), first)
        y = y.detach().requires_grad_()
        f = cross_entropy(xq, yq, y)
        by_y, *direct = torch.autograd.grad(f, [y, *body.values()])
        v = torch.linalg.solve(torch.autograd.functional.hessian(g, y), by_y)
        (first,) = torch.autograd.grad(g(y), y, create_graph=True)
        indirect = torch.autograd.grad(first @ v, list(body.values()))
        for name, one, other in zip(body, direct, indirect, strict=True):
            totals[name] += (one - other) / batch.tasks
        losses.append(f.detach())
    return *network.pack(totals), torch.stack(losses)


@pytest.mark.parametrize(
    "network",
    [{"geometry": "strided"}, {"geometry": "pooled", "adapt_bn": True}],
    ids=lambda network: network["geometry"],
)
def test_solved_inner_problem_gives_the_implicit_gradient(network: dict[str, Any]) -> None:
    setting = episodes(SOLVED | {"network": network | {"filters": 4}}, tasks=2)
    s, net, theta, batch = setting
    *expected, losses = implicit_gradient(setting, ridge=0.1)
    found = meta_gradient("memory_reduced", net, theta, batch, s)
    torch.testing.assert_close(found.loss, losses, rtol=1e-10, atol=0)
    for f, e in zip((found.adapted, found.shared), expected, strict=True):
        assert relative(f, e) < 1e-9
    head = net.slots["head.weight"].start
    assert not found.adapted[head:].any()
    early = s.model_copy(update={"inner_steps": 5})
    cheap = s.model_copy(update={"options": s.options | {"cg_steps": 2}})
    for other in (early, cheap):
        less = meta_gradient("memory_reduced", net, theta, batch, other).adapted
        assert relative(less, expected[0]) > 1e-3


def test_solved_inner_problem_against_finite_differences() -> None:
    setting = episodes(SOLVED | {"network": {"filters": 4}}, tasks=2)
    s, network, theta, batch = setting
    found = meta_gradient("memory_reduced", network, theta, batch, s)
    along = directions(theta)
    along[0][network.slots["head.weight"].start :] = 0.0  # where it starts is no meta-parameter
    expected = found.adapted @ along[0] + found.shared @ along[1]
    assert slope("memory_reduced", setting, along, 1e-6) == pytest.approx(expected.item(), rel=1e-5)


def test_ridge_makes_the_hessian_of_the_head_positive_definite() -> None:
    """Without it adding one vector to every row of the head changes nothing."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    targets = torch.eye(5, dtype=torch.float64).expand(2, 5, 5)
    head = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    least = {}
    for ridge in (0.0, 1e-3):
        loss = HeadLoss(features, targets, ridge=ridge)
        _, tape = loss.gradient(head, keep=True)
        units = torch.eye(20, dtype=torch.float64).view(20, 1, 5, 4).expand(-1, 2, -1, -1)
        rows = [loss.hessian_product(tape, unit)[0].flatten(1) for unit in units]
        hessian = torch.stack(rows, 1)
        torch.testing.assert_close(hessian, hessian.transpose(1, 2), rtol=0, atol=1e-15)
        least[ridge] = torch.linalg.eigvalsh(hessian)[:, 0]
    assert float(least[0.0].abs().max()) < 1e-14
    assert float(least[1e-3].min()) > 1e-3 - 1e-14


def test_repeating_the_body_changes_no_number_and_no_memory() -> None:
    found = {}
    for cache in (True, False):
        s, network, theta, batch = episodes(
            PLAIN | {"options": OPTIONS | {"cache_features": cache}}
        )
        found[cache] = meta_gradient("memory_reduced", network, theta, batch, s)
    assert relative(found[False].adapted, found[True].adapted) < 1e-12
    assert found[False].nbytes == found[True].nbytes


def test_memory_depends_neither_on_steps_nor_on_conjugate_gradients() -> None:
    kept = set()
    for steps, cg_steps in ((1, 1), (4, 20)):
        s, network, theta, batch = episodes(
            PLAIN | {"inner_steps": steps, "options": OPTIONS | {"cg_steps": cg_steps}}
        )
        kept.add(meta_gradient("memory_reduced", network, theta, batch, s).nbytes)
    assert len(kept) == 1


def test_order_of_tasks_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    s, network, theta, batch = episodes(PLAIN, tasks=5)
    whole = meta_gradient("memory_reduced", network, theta, batch, s)
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = Batch(*(t[order] for t in vars(batch).values()))
    permuted = meta_gradient("memory_reduced", network, theta, shuffled, s)
    torch.testing.assert_close(permuted.loss, whole.loss[order], rtol=1e-11, atol=0)
    monkeypatch.setattr(meta, "chunk_size", lambda *_: 2)
    for other in (permuted, meta_gradient("memory_reduced", network, theta, batch, s)):
        assert relative(other.adapted, whole.adapted) < 1e-8
        assert relative(other.shared, whole.shared) < 1e-8


def test_adaptation_descends_the_regularised_loss_from_the_initial_head() -> None:
    s, network, theta, batch = episodes(PLAIN | {"test_steps": 1})
    phi = adapt("memory_reduced", network, theta, batch, s, window=1)
    start = network.expand(theta.adapted, batch.tasks)
    inner = EpisodeLoss(network, theta.shared, batch.support_images, batch.support_labels)
    first = read_head(network, start, batch.tasks)
    by_head = read_head(network, inner.evaluate(start).by_phi, batch.tasks)
    expected = first - s.inner_lr * (by_head + OPTIONS["ridge"] * first)
    torch.testing.assert_close(read_head(network, phi, batch.tasks), expected, rtol=1e-12, atol=0)
    body = batch.tasks * network.slots["head.weight"].start
    assert torch.equal(phi[:body], start[:body])


def test_weight_decay_is_refused() -> None:
    s, network, theta, batch = episodes(PLAIN | {"weight_decay": 1e-4})
    with pytest.raises(UserError, match="set options"):
        meta_gradient("memory_reduced", network, theta, batch, s)


def test_a_cuda_graph_can_hold_it() -> None:
    setting = episodes(PLAIN)
    _, network, theta, batch = setting
    phi = torch.Size([batch.tasks * network.adapted_size])
    assert valueless("memory_reduced", setting) == (theta.adapted.shape, phi)
