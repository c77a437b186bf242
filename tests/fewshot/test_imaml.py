"""iMAML against closed forms, dense solves with autograd's Hessian, and finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fewshot_episodes import adapt, summed
from helpers import small_params
from torch import Tensor
from torch.func import functional_call, grad, jacrev
from torch.nn import functional as F

from multistep.fewshot import meta
from multistep.fewshot.algorithms import imaml
from multistep.fewshot.batched import BatchedConv4, EpisodeLoss
from multistep.fewshot.conjugate_gradient import conjugate_gradient
from multistep.fewshot.episodes import Batch
from multistep.fewshot.settings import FewShot
from multistep.files import UserError
from multistep.networks.conv4 import Conv4
from multistep.plan.params import cell_settings

OPTIONS = {"prox": 2.0, "prox_steps": "every", "cg_steps": 5, "damping": 0.0, "test_prox": True}
TASKS = 2


def settings(adapt_bn: bool = False, **changes: Any) -> FewShot:
    """Three filters: few enough parameters for a dense Hessian."""
    s = cell_settings(small_params(), "5way_1shot", "maml").model_copy(update={"queries": 2})
    assert isinstance(s, FewShot)
    network = s.network.model_copy(update={"adapt_bn": adapt_bn, "filters": 3})
    options = OPTIONS | {k: changes.pop(k) for k in list(changes) if k in OPTIONS}
    base = {"network": network, "options": options, "inner_lr": 0.1}
    return s.model_copy(update=base | changes)


def setting(s: FewShot, beta: float = 0.0) -> tuple[BatchedConv4, meta.Theta, Batch]:
    """A small network in float64 with about `beta` for β, and two episodes."""
    network = meta.build_network(s, 28)
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    theta = meta.initial_theta(network, 0, torch.device("cpu"))
    double = meta.Theta(*(t.double() + 0.05 * noise(*t.shape) for t in vars(theta).values()))
    params = network.unpack(*vars(double).values())
    for name in (n for n in params if n.startswith("norm") and n.endswith("bias")):
        params[name] += beta
    double = meta.Theta(*network.pack(params))
    labels = torch.stack([torch.randperm(5, generator=generator) for _ in range(TASKS)])
    episodes = noise(TASKS, 5, 1, 28, 28).abs(), noise(TASKS, 10, 1, 28, 28).abs()
    return network, double, Batch(episodes[0], labels, episodes[1], labels.repeat_interleave(2, 1))


class Plain:
    """One task's losses on the plain module, as functions of flat vectors."""

    def __init__(self, network: BatchedConv4, batch: Batch, task: int) -> None:
        self.network, self.module = network, Conv4(network.config)
        self.xs, self.ys, self.xq, self.yq = (t[task] for t in vars(batch).values())

    def support(self, phi: Tensor, shared: Tensor) -> Tensor:
        return self._loss(phi, shared, self.xs, self.ys)

    def query(self, phi: Tensor, shared: Tensor) -> Tensor:
        return self._loss(phi, shared, self.xq, self.yq)

    def _loss(self, phi: Tensor, shared: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(
            functional_call(self.module, self.network.unpack(phi, shared), (x,)), y
        )

    def solution(self, theta: meta.Theta, s: FewShot, *, steps: int, prox: float) -> Tensor:
        """φ after gradient steps, the proximal term as the options say."""
        last = s.options["prox_steps"] == "last"
        phi = theta.adapted
        for _ in range(steps):
            pull = 0.0 if last else prox * (phi - theta.adapted)
            phi = phi - s.inner_lr * (grad(self.support)(phi, theta.shared) + pull)
        return phi - s.inner_lr * prox * (phi - theta.adapted) if last else phi


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def matrices(tasks: int, size: int, seed: int) -> Tensor:
    """Symmetric, positive definite, `[tasks, size, size]`."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(tasks, size, size, generator=generator, dtype=torch.float64)
    return root @ root.mT / size + 0.5 * torch.eye(size, dtype=torch.float64)


def cg(a: Tensor, b: Tensor, steps: int, **options: float) -> Tensor:
    """`conjugate_gradient` on dense matrices, vectors `[tasks, size]`."""
    return conjugate_gradient(
        lambda v: (a @ v.unsqueeze(2)).squeeze(2),
        b,
        lambda u, v: (u * v).sum(1),
        lambda v, factors: v * factors.unsqueeze(1),
        steps,
        **options,
    )


def test_conjugate_gradient_solves_and_each_step_is_the_best_in_its_space() -> None:
    a = matrices(3, 12, 0)
    b = torch.linspace(-1, 2, 36, dtype=torch.float64).view(3, 12)
    exact = torch.linalg.solve(a, b)
    assert error(cg(a, b, 12), exact) < 1e-10
    assert error(cg(a, b, 40), exact) < 1e-10  # goes on past the solution without harm
    for task in range(3):
        krylov = [b[task]]
        for steps in range(1, 5):
            basis, _ = torch.linalg.qr(torch.stack(krylov, 1))
            best = basis @ torch.linalg.solve(basis.T @ a[task] @ basis, basis.T @ b[task])
            assert error(cg(a, b, steps)[task], best) < 1e-9
            krylov.append(a[task] @ krylov[-1])


def test_a_task_with_negative_curvature_stops_and_the_others_go_on() -> None:
    a = matrices(3, 6, 1)
    b = torch.ones(3, 6, dtype=torch.float64)
    a[0] = -a[0]  # at its first direction
    a[1] = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, -1.0], dtype=torch.float64))  # later
    x = cg(a, b, 30)
    assert not x[0].any()
    assert x[1].isfinite().all()
    assert 0 < x[1].norm() < 10
    assert error(x[2], torch.linalg.solve(a[2], b[2])) < 1e-10
    alone = cg(a[1:2], b[1:2], 30)
    assert torch.equal(alone[0], x[1])  # what the others do changes nothing


def test_a_task_with_a_small_residual_stops() -> None:
    a = matrices(2, 30, 2)
    b = torch.stack([a[0, :, 0] * 1e-3, torch.ones(30, dtype=torch.float64)])
    loose, tight = cg(a, b, 30, tolerance=0.1), cg(a, b, 30, tolerance=1e-12)
    for k in range(2):
        residual = float((b[k] - a[k] @ loose[k]).norm() / b[k].norm())
        assert 1e-4 < residual < 0.1
        assert (b[k] - a[k] @ tight[k]).norm() < 1e-12 * b[k].norm()
    zero = cg(a, torch.zeros_like(b), 5)
    assert not zero.any()
    assert cg(a.float(), b.float(), 200).isfinite().all()


class Quadratic:
    """½ φᵀHφ - cᵀφ + shared ᵀMφ of each task, with φ `[tasks, P]` as an `Objective`."""

    def __init__(self, h: Tensor, c: Tensor) -> None:
        self.h, self.c = h, c

    def gradient(self, phi: Tensor, *, keep: bool) -> tuple[Tensor, None]:
        return (self.h @ phi.unsqueeze(2)).squeeze(2) - self.c, None


@pytest.mark.parametrize("prox", [0.3, 2.0])
def test_on_a_quadratic_the_solution_and_its_derivative_are_exact(prox: float) -> None:
    """φ* = (H + λ)⁻¹ (c + λθ), and (I + H/λ) x = g is solved by (dφ*/dθ)ᵀ g."""
    h = matrices(2, 8, 3)
    generator = torch.Generator().manual_seed(4)
    c, theta, g = (torch.randn(2, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    solver = imaml.IMAML(settings(prox=prox, inner_lr=0.15))
    phi = solver.descend(Quadratic(h, c), theta, 400, prox)
    eye = torch.eye(8, dtype=torch.float64)
    assert error(phi, torch.linalg.solve(h + prox * eye, c + prox * theta)) < 1e-10
    x = cg(eye + h / prox, g, 8)
    jacobian = torch.linalg.solve(h + prox * eye, prox * eye)
    assert error(x, (jacobian.mT @ g.unsqueeze(2)).squeeze(2)) < 1e-10


@pytest.mark.parametrize("damping", [0.0, 0.5])
@pytest.mark.parametrize("prox_steps", ["every", "last"])
@pytest.mark.parametrize("adapt_bn", [True, False])
def test_meta_gradient_equals_a_dense_solve(
    adapt_bn: bool, prox_steps: str, damping: float
) -> None:
    """The Hessian and the mixed derivative of the plain module by autograd, and linalg.solve."""
    prox = 8.0  # I + H/λ is positive definite, so that many steps solve it
    s = settings(
        adapt_bn, prox=prox, prox_steps=prox_steps, damping=damping, cg_steps=60, inner_lr=0.05
    )
    network, theta, batch = setting(s)
    by_theta, by_shared = torch.zeros_like(theta.adapted), torch.zeros_like(theta.shared)
    losses = []
    for task in range(TASKS):
        plain = Plain(network, batch, task)
        phi = plain.solution(theta, s, steps=s.inner_steps, prox=prox)
        b = grad(plain.query)(phi, theta.shared)
        h = jacrev(grad(plain.support))(phi, theta.shared)
        eye = torch.eye(len(b), dtype=torch.float64)
        assert torch.linalg.eigvalsh(eye + h / prox).min() > 0
        x = torch.linalg.solve((1 + damping) * eye + h / prox, b)
        by_theta += x
        if theta.shared.numel():
            mixed = jacrev(grad(plain.support), argnums=1)(phi, theta.shared)
            by_shared += grad(plain.query, argnums=1)(phi, theta.shared) - mixed.T @ x / prox
        losses.append(plain.query(phi, theta.shared))
    found = summed("imaml", network, theta, batch, s)
    torch.testing.assert_close(found.loss, torch.stack(losses), rtol=1e-11, atol=0)
    assert error(found.adapted, by_theta) < 1e-9
    assert found.shared.numel() == theta.shared.numel()
    assert adapt_bn or error(found.shared, by_shared) < 1e-9


@pytest.mark.parametrize("adapt_bn", [True, False])
def test_meta_gradient_is_the_slope_of_the_solution_s_query_loss(adapt_bn: bool) -> None:
    """Finite differences of the whole implicit map, the inner problem solved to rounding.

    With β = 4 no ReLU is near its kink, where a minimum would otherwise like to lie.
    """
    s = settings(adapt_bn, prox=8.0, cg_steps=60, inner_steps=300, inner_lr=0.02)
    network, theta, batch = setting(s, beta=4.0)
    found = summed("imaml", network, theta, batch, s)
    generator = torch.Generator().manual_seed(1)
    u = meta.Theta(
        *(
            torch.randn(t.shape, generator=generator, dtype=torch.float64) / 30
            for t in vars(theta).values()
        )
    )

    def loss(step: float) -> float:
        moved = meta.Theta(theta.adapted + step * u.adapted, theta.shared + step * u.shared)
        return summed("imaml", network, moved, batch, s).loss.sum().item()

    h = 1e-6
    slope = (loss(h) - loss(-h)) / (2 * h)
    expected = found.adapted @ u.adapted + found.shared @ u.shared
    assert slope == pytest.approx(expected.item(), rel=1e-6)
    phi = adapt("imaml", network, theta, batch, s.model_copy(update={"test_steps": 300}), window=1)
    inner = EpisodeLoss(network, theta.shared, batch.support_images, batch.support_labels)
    pull = phi - network.expand(theta.adapted, TASKS)
    assert (inner.gradient(phi, keep=False)[0] + 8.0 * pull).norm() < 1e-12
    # What first-order MAML leaves out is large here, so that it would be missed.
    query = EpisodeLoss(network, theta.shared, batch.query_images, batch.query_labels).evaluate(phi)
    first = network.sum_tasks(query.by_phi) @ u.adapted
    first += network.sum_tasks(query.by_shared, adapted=False) @ u.shared
    assert abs(first.item() / slope - 1) > 0.5


def test_tasks_do_not_mix() -> None:
    """Chunks and the order of tasks do not matter, also where conjugate gradients stop early."""
    s = settings(prox=0.01, inner_steps=4)
    network, theta, batch = setting(s)
    together = summed("imaml", network, theta, batch, s)
    alone = [summed("imaml", network, theta, part, s) for part in batch.split(1)]
    for name in ("adapted", "shared"):
        whole, parts = getattr(together, name), [getattr(part, name) for part in alone]
        torch.testing.assert_close(whole, sum(parts), rtol=1e-9, atol=1e-12)
    turned = Batch(*(t.flip(0) for t in vars(batch).values()))
    again = summed("imaml", network, theta, turned, s)
    torch.testing.assert_close(again.adapted, together.adapted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("prox_steps", ["every", "last"])
@pytest.mark.parametrize("test_prox", [True, False])
def test_adaptation_solves_the_inner_problem_of_the_support_set(
    prox_steps: str, test_prox: bool
) -> None:
    s = settings(prox_steps=prox_steps, test_prox=test_prox, test_steps=7)
    network, theta, batch = setting(s)
    phi = adapt("imaml", network, theta, batch, s, window=1)
    expected = [
        Plain(network, batch, task).solution(theta, s, steps=7, prox=2.0 if test_prox else 0.0)
        for task in range(TASKS)
    ]
    assert error(network.sum_tasks(phi), sum(expected[1:], expected[0])) < 1e-11
    only = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert error(network.sum_tasks(network.task_scale(phi, only)), expected[1]) < 1e-11
    torch.testing.assert_close(
        network.task_dot(phi, phi), torch.stack([e @ e for e in expected]), rtol=1e-10, atol=0
    )


def test_memory_does_not_depend_on_the_steps() -> None:
    few, more = settings(inner_steps=2), settings(inner_steps=9, cg_steps=9)
    network, theta, batch = setting(few)
    kept = [summed("imaml", network, theta, batch, s).nbytes for s in (few, more)]
    assert kept[0] == kept[1] > 0


def test_wrong_options_are_told() -> None:
    s = settings(prox_steps="never")
    network, theta, batch = setting(s)
    with pytest.raises(UserError, match=r"options\.prox_steps: .*'every' or 'last'"):
        summed("imaml", network, theta, batch, s)
