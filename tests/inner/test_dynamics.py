"""Dynamics against torch.optim, Lemma 1's coefficients, and Proposition 1's numbers."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from multistep import machine_code
from multistep.inner.adam_window import suits
from multistep.inner.dynamics import SGD, Adam, Dynamics, Tensors

SGDS = [
    SGD(0.4, 0.9, 1e-4),
    SGD(0.1, 0.9, 1e-4),
    SGD(0.4),
    SGD(0.05, 0.9, 0.1),
    SGD(0.3, 0.0, 0.01),
]
ADAMS = [Adam(1e-3), Adam(0.05, (0.8, 0.95), 1e-6, 0.1)]


def random_tensors(seed: int) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"weight": (3, 4), "bias": (3,)}
    return {n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()}


@pytest.mark.parametrize("dynamics", [*SGDS, *ADAMS], ids=str)
def test_steps_equal_torch_optim(dynamics: Dynamics) -> None:
    params = random_tensors(0)
    leaves = [p.clone().requires_grad_() for p in params.values()]
    if isinstance(dynamics, SGD):
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            leaves, dynamics.lr, dynamics.momentum, weight_decay=dynamics.weight_decay
        )
    else:
        assert isinstance(dynamics, Adam)
        optimizer = torch.optim.Adam(
            leaves, dynamics.lr, dynamics.betas, dynamics.eps, dynamics.weight_decay
        )
    state = dynamics.init(params)
    for t in range(6):
        grads = random_tensors(t + 1)
        for leaf, g in zip(leaves, grads.values(), strict=True):
            leaf.grad = g.clone()
        optimizer.step()
        params, state = dynamics.step(params, state, grads)
    for p, leaf in zip(params.values(), leaves, strict=True):
        torch.testing.assert_close(p, leaf.detach(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 3, 8])
@pytest.mark.parametrize("dynamics", [*SGDS, *ADAMS], ids=str)
def test_window_equals_n_steps(dynamics: Dynamics, n: int) -> None:
    params, grads = random_tensors(0), random_tensors(1)
    params, state = dynamics.step(params, dynamics.init(params), random_tensors(2))
    stepped, stepped_state = params, state
    for _ in range(n):
        stepped, stepped_state = dynamics.step(stepped, stepped_state, grads)
    jumped, jumped_state = dynamics.window(params, state, grads, n)
    for name in params:
        torch.testing.assert_close(jumped[name], stepped[name], rtol=1e-13, atol=1e-14)
        for key, value in jumped_state.items():
            if isinstance(value, dict):
                expected = stepped_state[key][name]
                torch.testing.assert_close(value[name], expected, rtol=1e-13, atol=1e-14)
    assert jumped_state.get("step") == stepped_state.get("step")


# (η, n) → c_φ, d_φ, c_v, d_v, b_φ, b_v for μ = 0.9, ω = 1e-4.
COEFFICIENTS = {
    (0.4, 1): (0.9999600000, -0.3600000000, 1.0000000000e-4, 0.9000000000, -0.4, 1.0),
    (0.4, 2): (0.9998840016, -0.6839856000, 1.8999600000e-4, 0.8099640000, -1.159984, 1.89996),
    (0.4, 4): (0.9996380621, -1.2379099713, 3.4386388091e-4, 0.6559117268, -3.6193787243,
               3.4386388091),
    (0.4, 8): (0.9988505827, -2.0494215916, 5.6928377545e-4, 0.4297945208, -11.4941727278,
               5.6928377545),
    (0.04, 8): (0.9998850345, -0.2050228389, 5.6950788573e-4, 0.4303999290, -1.1496554855,
                5.6950788573),
    (0.01, 8): (0.9999712581, -0.0512573907, 5.6952656387e-4, 0.4304503895, -0.2874188346,
                5.6952656387),
}  # fmt: skip


@pytest.mark.parametrize(("lr", "n"), COEFFICIENTS)
def test_coefficients_of_a_window(lr: float, n: int) -> None:
    b = SGD(lr, 0.9, 1e-4).coefficients(n)
    found = (b.c_phi, b.d_phi, b.c_v, b.d_v, b.b_phi, b.b_v)
    assert found == pytest.approx(COEFFICIENTS[lr, n], abs=1e-10)


def test_coefficients_are_sums_and_powers_of_one_step_s_matrix() -> None:
    """Eq. 13 and eq. 23, proved by eq. 21 and eq. 22; without ω and μ eq. 24 to eq. 26."""
    lr, mu, omega = 0.1, 0.9, 0.05
    a = torch.tensor([[1 - lr * omega, -lr * mu], [omega, mu]], dtype=torch.float64)
    one = torch.tensor([-lr, 1.0], dtype=torch.float64)
    for n in range(1, 9):
        b = SGD(lr, mu, omega).coefficients(n)
        power = torch.linalg.matrix_power(a, n)
        drive = torch.stack([torch.linalg.matrix_power(a, i) @ one for i in range(n)]).sum(0)
        found = [b.c_phi, b.d_phi, b.c_v, b.d_v]
        assert found == pytest.approx(power.flatten().tolist(), abs=1e-13)
        assert [b.b_phi, b.b_v] == pytest.approx(drive.tolist(), abs=1e-13)
        assert b.c_phi * b.d_v - b.d_phi * b.c_v == pytest.approx(mu**n, abs=1e-13)
        naive = SGD(lr).coefficients(n)
        assert [naive.b_phi, naive.b_v] == pytest.approx([-n * lr, 1.0])
        assert [naive.c_phi, naive.d_phi] == [1.0, 0.0]


def test_lemma_1() -> None:
    """Its recurrences, eq. 32 to eq. 35, and the first coefficients, eq. 44 to eq. 47."""
    eta, mu, omega = 0.1, 0.9, 0.05
    b = {t + 1: SGD(eta, mu, omega).coefficients(t) for t in range(1, 9)}
    assert [b[2].b_phi, b[2].c_phi] == pytest.approx([-eta, 1 - eta * omega])
    assert b[3].b_phi == pytest.approx(-eta * (mu + 2 - eta * omega))
    assert b[3].c_phi == pytest.approx(-eta * mu * omega + (1 - eta * omega) ** 2)
    for t in range(2, 9):
        old, new = b[t], b[t + 1]
        assert new.b_v == pytest.approx(mu * old.b_v + 1 + omega * old.b_phi)
        assert new.c_v == pytest.approx(mu * old.c_v + omega * old.c_phi)
        assert new.b_phi == pytest.approx(-eta * mu * old.b_v - eta + (1 - eta * omega) * old.b_phi)
        assert new.c_phi == pytest.approx(-eta * mu * old.c_v + (1 - eta * omega) * old.c_phi)


def test_proposition_1() -> None:
    """Windows of two steps can't be had from single steps: eq. 50 to eq. 54 with its numbers."""
    eta, mu, omega = 0.1, 0.9, 1e-4
    b = {t + 1: SGD(eta, mu, omega).coefficients(t).b_phi for t in (1, 2, 4, 6)}
    assert b[2] == pytest.approx(-0.1)
    assert b[3] == pytest.approx(-0.289999, abs=1e-6)
    assert b[5] == pytest.approx(-0.904886, abs=1e-6)
    assert b[7] == pytest.approx(-1.782909, abs=1e-6)
    # One window fixes the single step's rate, two windows its momentum (ω̃ = ω exactly).
    new_eta = -b[3]
    new_mu = -b[5] / new_eta + new_eta * omega - 2
    assert new_eta == pytest.approx(0.289999, abs=1e-6)
    assert new_mu == pytest.approx(1.120337, abs=1e-6)
    # ... and then the third window comes out wrong.
    third = SGD(new_eta, new_mu, omega).coefficients(3).b_phi
    assert third == pytest.approx(-1.883740, abs=1e-6)
    assert abs(third - b[7]) > 0.1


@pytest.mark.parametrize("dynamics", [SGDS[0], ADAMS[1]], ids=str)
def test_absent_gradient_is_zero_gradient(dynamics: Dynamics) -> None:
    params = random_tensors(0)
    params, state = dynamics.step(params, dynamics.init(params), random_tensors(1))
    grads = random_tensors(2)
    zeros = {"weight": grads["weight"], "bias": torch.zeros(3, dtype=torch.float64)}
    expected, _ = dynamics.window(params, state, zeros, 2)
    found, _ = dynamics.window(params, state, {"weight": grads["weight"]}, 2)
    assert torch.equal(found["bias"], expected["bias"])
    assert not torch.equal(found["bias"], params["bias"])  # momentum and decay still move it


def test_adam_has_no_nan_where_no_gradient_ever_was() -> None:
    params = {"dead": torch.zeros(2, dtype=torch.float64, requires_grad=True)}
    dynamics = Adam(1e-3)
    moved, _ = dynamics.step(params, dynamics.init(params), {"dead": params["dead"] * 0})
    (gradient,) = torch.autograd.grad(moved["dead"].sum(), params["dead"])
    assert gradient.isfinite().all()


def plain_adam(dynamics: Adam, tensors: list[Tensor], n: int) -> tuple[Tensor, ...]:
    """n steps after the third with one gradient, as the textbook has them."""
    p, mean, variance, g = tensors
    beta1, beta2 = dynamics.betas
    for t in range(4, 4 + n):
        drive = g + dynamics.weight_decay * p
        mean = beta1 * mean + (1 - beta1) * drive
        variance = beta2 * variance + (1 - beta2) * drive**2
        denominator = (variance / (1 - beta2**t)).sqrt() + dynamics.eps
        p = p - dynamics.lr * (mean / (1 - beta1**t)) / denominator
    return p, mean, variance


def adam_window(dynamics: Adam, tensors: list[Tensor], n: int) -> tuple[Tensor, ...]:
    p, mean, variance, g = ({"w": t} for t in tensors)
    new, state = dynamics.window(p, {"mean": mean, "variance": variance, "step": 3}, g, n)
    return new["w"], state["mean"]["w"], state["variance"]["w"]


def adam_inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(5, generator=generator, dtype=torch.float64) for _ in range(4)]
    drawn[2] = drawn[2].square()
    return [t.requires_grad_() for t in drawn]


@pytest.mark.parametrize("dynamics", ADAMS, ids=str)
def test_adam_s_written_derivative_is_that_of_the_textbook(dynamics: Adam) -> None:
    inputs = adam_inputs()
    weights = [torch.linspace(-1, 2, 5, dtype=torch.float64).roll(k) for k in range(3)]

    def gradients(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        total = sum((w * o).sum() for w, o in zip(weights, outputs, strict=True))
        assert isinstance(total, Tensor)
        return torch.autograd.grad(total, inputs)

    fast, plain = adam_window(dynamics, inputs, 3), plain_adam(dynamics, inputs, 3)
    for ours, theirs in zip((*fast, *gradients(fast)), (*plain, *gradients(plain)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_adam_s_written_derivative_can_be_differentiated_and_mapped() -> None:
    dynamics, inputs = ADAMS[1], adam_inputs()

    def window(*tensors: Tensor) -> tuple[Tensor, ...]:
        return adam_window(dynamics, list(tensors), 2)

    assert torch.autograd.gradgradcheck(window, inputs)
    mapped = torch.func.vmap(torch.func.grad(lambda *t: window(*t)[0].sum(), argnums=3))
    batched = mapped(*(t.detach().reshape(5, 1) for t in inputs))
    single = torch.autograd.grad(window(*inputs)[0].sum(), inputs[3])[0]
    torch.testing.assert_close(batched[:, 0], single)


@pytest.mark.skipif(not machine_code.width(), reason="no compiler for this machine")
@pytest.mark.parametrize("size", [16, 103])
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("dynamics", ADAMS, ids=str)
def test_a_compiled_window_of_adam(dynamics: Adam, n: int, size: int) -> None:
    """Beside its steps in float64, with a second moment of zero among them: the end, all ways back
    (each end alone, all together, for g alone), and a second derivative.
    """
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(7)]
    drawn[2].square_()
    drawn[2][::5] = drawn[3][::5] = 0  # no gradient so far, and none now
    if dynamics.weight_decay:
        drawn[0][::5] = 0

    def found(dtype: torch.dtype) -> list[Tensor]:
        p, m, v, g, *weights = (t.to(dtype) for t in drawn)
        leaves = [t.requires_grad_() for t in (p, m, v, g)]
        state = {"mean": {"w": m}, "variance": {"w": v}, "step": 3}
        assert suits(n, *leaves) == (dtype == torch.float32)
        end, after = dynamics.window({"w": p}, state, {"w": g}, n)
        ends = [end["w"], after["mean"]["w"], after["variance"]["w"]]
        back = torch.autograd.grad(ends, leaves, weights, retain_graph=True)
        for one, weight in zip(ends, weights, strict=True):
            back += torch.autograd.grad(one, (g,), weight, retain_graph=True)
        (slope,) = torch.autograd.grad(ends[0], (g,), weights[0], create_graph=True)
        back += torch.autograd.grad(slope, (m, g), weights[1])
        fixed = {"mean": {"w": m.detach()}, "variance": {"w": v.detach()}, "step": 3}
        alone, _ = dynamics.window({"w": p.detach()}, fixed, {"w": g}, n)
        return [*ends, *back, *torch.autograd.grad(alone["w"], (g,), weights[0])]

    for one, other in zip(found(torch.float32), found(torch.float64), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not machine_code.width(), reason="no compiler for this machine")
def test_a_compiled_window_of_adam_whose_gradient_depends_on_the_parameters() -> None:
    """As in an inner loop: what comes by g must not count twice where the graph is kept, and what
    is differentiated many times at once has no memory that a loop could go over.
    """
    drawn = torch.randn(4, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def found(dtype: torch.dtype) -> list[Tensor]:
        p, m, v, weight = drawn.to(dtype)
        p.requires_grad_()
        state = {"mean": {"w": m}, "variance": {"w": v.square()}, "step": 3}
        end, _ = ADAMS[1].window({"w": p}, state, {"w": p.sin()}, 2)
        first = torch.autograd.grad(end["w"], p, weight, retain_graph=True)
        kept = torch.autograd.grad(end["w"], p, weight, create_graph=True)
        second = torch.autograd.grad(kept[0].sum(), p, retain_graph=True)
        rows = torch.autograd.grad(end["w"], p, torch.eye(32).to(dtype), is_grads_batched=True)
        return [*first, *kept, *second, *rows]

    for one, other in zip(found(torch.float32), found(torch.float64), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dynamics", [SGD(0.1, 0.9, 0.1), Adam(0.1)], ids=str)
def test_tasks_are_mapped_over_gradients_or_a_state_alone(dynamics: Dynamics) -> None:
    params, drawn = {"w": torch.ones(3)}, torch.rand(2, 3)
    state = dynamics.init(params)

    def by_gradient(g: Tensor) -> Tensor:
        return dynamics.window(params, state, {"w": g}, 2)[0]["w"]

    def by_state(m: Tensor) -> Tensor:
        given = {k: {"w": m} if isinstance(v, dict) else v for k, v in state.items()}
        return dynamics.window(params, given, {"w": params["w"]}, 2)[0]["w"]

    for of in (by_gradient, by_state):
        expected = torch.stack([of(row) for row in drawn])
        torch.testing.assert_close(torch.func.vmap(of)(drawn), expected)


def test_adam_of_complex_parameters_is_told() -> None:
    params = {"z": torch.ones(2, dtype=torch.complex64)}
    with pytest.raises(TypeError, match=r"params\['z'\]: torch.complex64, .* torch.view_as_real"):
        Adam(0.1).step(params, Adam(0.1).init(params), params)


def test_settings_are_numbers_of_double_precision() -> None:
    """A float32 of numpy carried its precision into Adam's bias corrections."""
    assert type(SGD(np.float32(0.1)).lr) is type(Adam(1).lr) is float
    assert SGD(Fraction(1, 4)) == SGD(0.25)
