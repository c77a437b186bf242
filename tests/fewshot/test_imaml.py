"""iMAML against closed forms, dense solves with autograd's Hessian, and finite differences."""

from itertools import product
from typing import Any

import pytest
import torch
from fewshot_case import Case, Plain, Reference, case, parts, relative, settings
from torch import Tensor
from torch.func import grad, jacrev

from multistep.fewshot import algorithms
from multistep.fewshot.algorithms.imaml import IMAML
from multistep.fewshot.conjugate_gradient import conjugate_gradient
from multistep.fewshot.episodes import Batch
from multistep.files import UserError

# Three filters: few enough parameters for a dense Hessian.
BASE: dict[str, Any] = {"inner_steps": 4, "network": {"filters": 3}}
BASE["options"] = {"prox": 2.0, "prox_steps": "every", "test_prox": True}
BASE["options"] |= {"damping": 0.0, "prox_damping": 0.0}
PROX = 8.0  # I + H/λ is positive definite, so that many steps solve it
CASES = [
    BASE
    | {"inner_lr": 0.05, "network": {"filters": 3, "adapt_bn": adapt_bn}}
    | {"options": {"prox": PROX, "prox_steps": steps, "cg_steps": 60} | damped}
    for adapt_bn, steps, damped in product(
        [True, False],
        ["every", "last"],
        [{"damping": 0.0, "prox_damping": 0.0}, {"damping": 0.5, "prox_damping": 2.0}],
    )
]
TOLERANCE = 1e-9


def solution(plain: Plain, case: Case, *, steps: int, prox: float) -> Tensor:
    """φ after gradient steps, the proximal term as the options say."""
    s, theta, shared = case.settings, case.theta.adapted, case.theta.shared
    last = s.options["prox_steps"] == "last"
    phi = theta
    for _ in range(steps):
        pull = 0.0 if last else prox * (phi - theta)
        phi = phi - s.inner_lr * (grad(plain.support)(phi, shared) + pull)
    return phi - s.inner_lr * prox * (phi - theta) if last else phi


def reference(case: Case) -> Reference:
    """Eq. 18: the Hessian and the mixed derivative of the plain module, and linalg.solve."""
    o, shared = case.settings.options, case.theta.shared
    totals, losses = [torch.zeros_like(t) for t in parts(case.theta)], []
    for plain in case.plain():
        phi = solution(plain, case, steps=case.settings.inner_steps, prox=o["prox"])
        b = grad(plain.query)(phi, shared)
        h = jacrev(grad(plain.support))(phi, shared)
        eye = torch.eye(len(b), dtype=torch.float64)
        damped = o["prox"] + o["prox_damping"]
        assert torch.linalg.eigvalsh(eye + h / damped).min() > 0
        x = torch.linalg.solve((1 + o["damping"]) * eye + h / damped, b)
        totals[0] += x / case.batch.tasks
        if shared.numel():
            mixed = jacrev(grad(plain.support), argnums=1)(phi, shared)
            by_shared = grad(plain.query, argnums=1)(phi, shared) - mixed.T @ x / damped
            totals[1] += by_shared / case.batch.tasks
        losses.append(plain.query(phi, shared))
    return totals[0], totals[1], torch.stack(losses)


def matrices(tasks: int, size: int, seed: int) -> Tensor:
    """Symmetric, positive definite, `[tasks, size, size]`."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(tasks, size, size, generator=generator, dtype=torch.float64)
    return root @ root.mT / size + 0.5 * torch.eye(size, dtype=torch.float64)


def cg(a: Tensor, b: Tensor, steps: int, **options: float) -> Tensor:
    """`conjugate_gradient` on dense matrices, vectors `[tasks, size]`."""
    return conjugate_gradient(
        lambda v: (a @ v.unsqueeze(2)).squeeze(2), b, lambda u, v: (u * v).sum(1),
        lambda v, factors: v * factors.unsqueeze(1), steps, **options,
    )  # fmt: skip


def test_conjugate_gradient_solves_and_each_step_is_the_best_in_its_space() -> None:
    a = matrices(3, 12, 0)
    b = torch.linspace(-1, 2, 36, dtype=torch.float64).view(3, 12)
    exact = torch.linalg.solve(a, b)
    assert relative(cg(a, b, 12), exact) < 1e-10
    assert relative(cg(a, b, 40), exact) < 1e-10  # goes on past the solution without harm
    for task in range(3):
        krylov = [b[task]]
        for steps in range(1, 5):
            basis, _ = torch.linalg.qr(torch.stack(krylov, 1))
            best = basis @ torch.linalg.solve(basis.T @ a[task] @ basis, basis.T @ b[task])
            assert relative(cg(a, b, steps)[task], best) < 1e-9
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
    assert relative(x[2], torch.linalg.solve(a[2], b[2])) < 1e-10
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
    """½ φᵀHφ - cᵀφ of each task, with φ `[tasks, P]` as an `Objective`."""

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
    solver = IMAML(settings("imaml", BASE).model_copy(update={"inner_lr": 0.15}))
    phi = solver.descend(Quadratic(h, c), theta, 400, prox)  # type: ignore[arg-type]
    eye = torch.eye(8, dtype=torch.float64)
    assert relative(phi, torch.linalg.solve(h + prox * eye, c + prox * theta)) < 1e-10
    x = cg(eye + h / prox, g, 8)
    jacobian = torch.linalg.solve(h + prox * eye, prox * eye)
    assert relative(x, (jacobian.mT @ g.unsqueeze(2)).squeeze(2)) < 1e-10


@pytest.mark.parametrize("adapt_bn", [True, False])
def test_meta_gradient_is_the_slope_of_the_solution_s_query_loss(adapt_bn: bool) -> None:
    """Finite differences of the whole implicit map, the inner problem solved to rounding.

    With β = 4 no ReLU is near its kink, where a minimum would otherwise like to lie.
    """
    changes = {"inner_steps": 300, "test_steps": 300, "inner_lr": 0.02}
    changes |= {"network": {"filters": 3, "adapt_bn": adapt_bn}}
    options = BASE["options"] | {"prox": PROX, "cg_steps": 60}
    work = case("imaml", changes | {"options": options}, tasks=2, beta=4.0)
    found, u = work.gradient(), work.directions()
    slope = work.slope(u)
    expected = found.adapted @ u.adapted + found.shared @ u.shared
    assert slope == pytest.approx(expected.item(), rel=1e-6)
    phi, tasks = work.adapt(), work.tasks
    pull = phi - tasks.start()
    assert (tasks.support.gradient(phi, keep=False)[0] + PROX * pull).norm() < 1e-12
    # What first-order MAML leaves out is large here, so that it would be missed.
    query = tasks.query.evaluate(phi)
    first = work.network.sum_tasks(query.by_phi) @ u.adapted
    first += work.network.sum_tasks(query.by_shared, adapted=False) @ u.shared
    assert abs(first.item() / 2 / slope - 1) > 0.5


def test_tasks_do_not_mix_where_conjugate_gradients_stop_early() -> None:
    work = case("imaml", BASE | {"options": BASE["options"] | {"prox": 0.01}}, tasks=2)
    whole = work.gradient()
    alone = [work.on(part).gradient() for part in work.batch.split(1)]
    for name in ("adapted", "shared"):
        parts = [getattr(part, name) / 2 for part in alone]
        torch.testing.assert_close(getattr(whole, name), sum(parts), rtol=1e-9, atol=1e-12)
    turned = work.on(Batch(*(t.flip(0) for t in vars(work.batch).values()))).gradient()
    torch.testing.assert_close(turned.adapted, whole.adapted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("prox_steps", ["every", "last"])
@pytest.mark.parametrize("test_prox", [True, False])
def test_adaptation_solves_the_inner_problem(prox_steps: str, test_prox: bool) -> None:
    options = BASE["options"] | {"prox_steps": prox_steps, "test_prox": test_prox}
    work = case("imaml", BASE | {"options": options, "test_steps": 7})
    prox = 2.0 if test_prox else 0.0
    expected = [solution(plain, work, steps=7, prox=prox) for plain in work.plain()]
    phi = work.adapt()
    for found, wanted in zip(work.per_task(phi), expected, strict=True):
        assert relative(found, wanted) < 1e-11
    norms = torch.stack([e @ e for e in expected])
    torch.testing.assert_close(work.network.task_dot(phi, phi), norms, rtol=1e-10, atol=0)


def test_with_the_published_damping_the_direction_is_first_order() -> None:
    """As params.yaml has it; the solution's own direction is another."""
    published = case("imaml", tasks=4)
    s, tasks = published.settings, published.tasks
    assert (s.options["damping"], s.options["prox_damping"], s.meta_eps) == (1.0, 10.0, 1e-3)
    phi = published.algorithm.descend(  # type: ignore[attr-defined]
        tasks.support, tasks.start(), s.inner_steps, s.options["prox"]
    )
    query = tasks.query.evaluate(phi)
    first_order = published.network.sum_tasks(query.by_phi)
    assert torch.cosine_similarity(published.gradient().adapted, first_order, 0) > 0.995
    text = published.but(options={"damping": 0.0, "prox_damping": 0.0})
    assert torch.cosine_similarity(text.gradient().adapted, first_order, 0) < 0.99


def test_memory_does_not_depend_on_the_steps() -> None:
    work = case("imaml", BASE)
    more = work.but(inner_steps=9, options={"cg_steps": 9})
    assert work.gradient().nbytes == more.gradient().nbytes > 0


def test_wrong_options_are_told() -> None:
    wrong = settings("imaml", {"options": {"prox_steps": "never"}})
    with pytest.raises(UserError, match=r"options\.prox_steps: .*'every' or 'last'"):
        algorithms.get("imaml")(wrong)
