"""Memory-reduced meta-learning: exact on a quadratic, and against dense Hessians on a network."""

from functools import partial
from typing import Any

import pytest
import torch
from fewshot_case import Case, Reference, case, parts, relative, settings
from torch import Tensor
from torch.func import grad, jacrev

from multistep.fewshot import algorithms
from multistep.fewshot.algorithms.memory_reduced import response
from multistep.fewshot.head import HeadLoss, read_head
from multistep.files import UserError
from multistep.inner.dynamics import SGD
from multistep.inner.unroll import unroll_vjp

RIDGE = 0.3
# The inner problem is strongly convex and small enough to be solved to rounding by gradient steps.
SOLVED: dict[str, Any] = {
    "inner_lr": 0.3,
    "inner_steps": 400,
    "options": {"cg_steps": 60, "cg_tolerance": 1e-14, "ridge": RIDGE},
}
CASES = [
    SOLVED | {"network": {"filters": 4}},
    SOLVED | {"network": {"geometry": "pooled", "adapt_bn": True, "filters": 4}},
]
SLOPES = CASES[:1]
TOLERANCE = 1e-9
FEW = {"inner_lr": 0.1, "inner_steps": 4, "options": {"cg_steps": 20, "ridge": RIDGE}}


def reference(case: Case) -> Reference:
    """y* by Newton's method, and dense Hessians by autograd on the plain module."""
    theta, shared = (t.clone().requires_grad_() for t in parts(case.theta))
    body = theta[: case.head]
    totals, losses = [torch.zeros_like(theta), torch.zeros_like(shared)], []
    for plain in case.plain():

        def g(y: Tensor, plain: Any = plain) -> Tensor:
            return plain.support(torch.cat([body, y]), shared) + RIDGE / 2 * y.square().sum()

        y = torch.zeros_like(theta[case.head :])
        for _ in range(10):
            y = y.detach().requires_grad_()
            (first,) = torch.autograd.grad(g(y), y)
            y = y - torch.linalg.solve(jacrev(grad(g))(y.detach()), first)
        y = y.detach().requires_grad_()
        f = plain.query(torch.cat([body, y]), shared)
        by_y, *direct = torch.autograd.grad(f, [y, theta, shared], materialize_grads=True)
        v = torch.linalg.solve(jacrev(grad(g))(y.detach()), by_y)
        (first,) = torch.autograd.grad(g(y), y, create_graph=True)
        indirect = torch.autograd.grad(first @ v, [theta, shared], materialize_grads=True)
        for total, one, other in zip(totals, direct, indirect, strict=True):
            total += (one - other) / case.batch.tasks
        losses.append(f.detach())
    return totals[0], totals[1], torch.stack(losses)


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
    normal = partial(torch.randn, generator=generator, dtype=torch.float64)
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


def test_too_few_steps_or_conjugate_gradients_are_not_exact() -> None:
    work = case("memory_reduced", CASES[0], tasks=2)
    exact = work.gradient()
    assert not exact.adapted[work.head :].any()
    for less in (work.but(inner_steps=5), work.but(options={"cg_steps": 2})):
        assert relative(less.gradient().adapted, exact.adapted) > 1e-3


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
        matrix = torch.stack(rows, 1)
        torch.testing.assert_close(matrix, matrix.transpose(1, 2), rtol=0, atol=1e-15)
        least[ridge] = torch.linalg.eigvalsh(matrix)[:, 0]
    assert float(least[0.0].abs().max()) < 1e-14
    assert float(least[1e-3].min()) > 1e-3 - 1e-14


def test_repeating_the_body_changes_no_number_and_no_memory() -> None:
    work = case("memory_reduced", FEW)
    found = {c: work.but(options={"cache_features": c}).gradient() for c in (True, False)}
    assert relative(found[False].adapted, found[True].adapted) < 1e-12
    assert found[False].nbytes == found[True].nbytes


@pytest.mark.parametrize("name", ["memory_reduced", "anil"])
def test_one_switch_makes_the_support_pass_again_for_both(name: str) -> None:
    """The same numbers, and one pass less in memory; off unless it is asked for."""
    work = case(name)
    assert work.settings.scheme == "keep"
    kept, again = work.gradient(), work.but(scheme="replay").gradient()
    assert relative(again.adapted, kept.adapted) < 1e-12
    assert relative(again.shared, kept.shared) < 1e-12
    assert again.nbytes < kept.nbytes
    assert work.but(scheme="replay").algorithm.cost() > work.algorithm.cost()


def test_memory_depends_neither_on_steps_nor_on_conjugate_gradients() -> None:
    work = case("memory_reduced", FEW)
    few = work.but(inner_steps=1, options={"cg_steps": 1})
    assert few.gradient().nbytes == work.gradient().nbytes


def test_adaptation_descends_the_regularised_loss_from_the_initial_head() -> None:
    work = case("memory_reduced", FEW | {"test_steps": 1})
    network, tasks = work.network, work.tasks
    phi, start = work.adapt(), tasks.start()
    first = read_head(network, start, tasks.count)
    by_head = read_head(network, tasks.support.evaluate(start).by_phi, tasks.count)
    expected = first - work.settings.inner_lr * (by_head + RIDGE * first)
    found = read_head(network, phi, tasks.count)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-16)
    body = tasks.count * work.head
    assert torch.equal(phi[:body], start[:body])


def test_weight_decay_is_refused() -> None:
    with pytest.raises(UserError, match="set options"):
        algorithms.get("memory_reduced")(settings("memory_reduced", {"weight_decay": 1e-4}))
