"""The inner loop against published vectors, closed forms, finite differences, and itself."""

import textwrap

import pytest
import torch
import torch.autograd.forward_ad as fwAD
from inner_problem import F64, problem
from torch import Tensor

from multistep.inner.dynamics import SGD, Adam, Dynamics, Tensors
from multistep.inner.unroll import unroll


def test_published_vector_of_the_released_meta_optimiser() -> None:
    """Ten steps of SGD with momentum; the self-test of the earlier work's implementation."""
    v1 = torch.tensor([1.0, 3.0], dtype=F64)
    v2 = torch.tensor([[-1.0, -2.0], [1.0, 0.0]], dtype=F64)
    meta = torch.zeros(2, 2, dtype=F64, requires_grad=True)

    def inner(p: Tensors) -> Tensor:
        return p["v1"].square().mean() + (meta * p["v2"].square()).sum()

    params, _ = unroll(inner, {"v1": v1, "v2": v2}, SGD(0.1, 0.9, 0.01), steps=10)
    (params["v1"] * params["v2"]).mean().backward()
    assert meta.grad is not None
    expected = torch.tensor([[-1.1952, -7.1712], [1.1952, 0.0]], dtype=F64)
    torch.testing.assert_close(meta.grad, expected, rtol=0, atol=5e-5)


def outer_gradients(
    dynamics: SGD, *, steps: int, window: int, first_order: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """(final φ, [dL/dw1, dL/dw2, dL/dψ]) of a fixed outer loss."""
    psi = torch.tensor([0.3, -0.2], dtype=F64, requires_grad=True)
    params, loss = problem(psi)
    leaves = {n: p.requires_grad_() for n, p in params.items()}
    options = {"steps": steps, "window": window, "first_order": first_order}
    final, _ = unroll(loss, leaves, dynamics, **options)
    flat = torch.cat([p.flatten() for p in final.values()])
    outer = flat.sin().sum()
    grads = torch.autograd.grad(outer, [*leaves.values(), psi], allow_unused=True)
    return flat.detach(), [torch.zeros(2, dtype=F64) if g is None else g for g in grads]


def difference(a: tuple[Tensor, list[Tensor]], b: tuple[Tensor, list[Tensor]]) -> float:
    pairs = [(a[0], b[0]), *zip(a[1], b[1], strict=True)]
    return max(float((x - y).norm() / y.norm().clamp_min(1e-12)) for x, y in pairs)


def test_one_window_is_one_larger_step() -> None:
    """Lemma 1: Multi-step(T) from v₁ = 0 is one step with rate -b^φ_{T+1} and the same ω."""
    dynamics = SGD(0.1, 0.9, 1e-2)
    larger = SGD(-dynamics.coefficients(8).b_phi, 0.0, 1e-2)
    a = outer_gradients(dynamics, steps=8, window=8)
    assert difference(a, outer_gradients(larger, steps=1, window=1)) < 1e-12


def test_plain_sgd_windows_are_fewer_larger_steps() -> None:
    """Eq. 14, eq. 15, eq. 26 and eq. 27: with ω = μ = 0 windows are T/n steps with rate nη."""
    a = outer_gradients(SGD(0.05), steps=8, window=4)
    assert difference(a, outer_gradients(SGD(0.2), steps=2, window=1)) < 1e-12


def test_two_windows_are_two_steps_but_four_windows_are_not() -> None:
    """Proposition 1 holds from three windows on: two can be had with other hyper-parameters."""

    def matched(dynamics: SGD, n: int) -> SGD:
        w = dynamics.coefficients(n)
        return SGD(-w.b_phi, w.d_phi * w.b_v / w.b_phi, dynamics.weight_decay)

    expected = {0.4: (3.619379, 1.176093), 0.04: (0.361958, 1.176250), 0.01: (0.090490, 1.176264)}
    for lr, values in expected.items():
        m = matched(SGD(lr, 0.9, 1e-4), 4)
        assert (m.lr, m.momentum) == pytest.approx(values, abs=1e-6)
    dynamics = SGD(0.1, 0.9, 1e-4)
    two = outer_gradients(dynamics, steps=4, window=2)
    assert difference(two, outer_gradients(matched(dynamics, 2), steps=2, window=1)) < 1e-12
    four = outer_gradients(dynamics, steps=8, window=2)
    assert difference(four, outer_gradients(matched(dynamics, 2), steps=4, window=1)) > 0.01


def test_windows_match_torch_optim_on_a_frozen_gradient() -> None:
    """Eq. 11: a window is n steps of eq. 5 with one gradient."""
    psi = torch.tensor([0.3, -0.2], dtype=F64)
    params, loss = problem(psi)
    leaves = [p.clone().requires_grad_() for p in params.values()]
    optimizer = torch.optim.SGD(leaves, 0.1, 0.9, weight_decay=1e-2)
    for _ in range(2):
        value = loss(dict(zip(params, leaves, strict=True)))
        for leaf, g in zip(leaves, torch.autograd.grad(value, leaves), strict=True):
            leaf.grad = g
        for _ in range(4):
            optimizer.step()
    final, _ = unroll(loss, params, SGD(0.1, 0.9, 1e-2), steps=8, window=4)
    for found, leaf in zip(final.values(), leaves, strict=True):
        torch.testing.assert_close(found, leaf.detach(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("window", [1, 2, 4])
def test_meta_gradient_against_finite_differences(window: int) -> None:
    dynamics, h = SGD(0.1, 0.9, 1e-2), 1e-6
    _, (_, _, by_psi) = outer_gradients(dynamics, steps=4, window=window)

    def outer(psi: Tensor) -> float:
        params, loss = problem(psi)
        final, _ = unroll(loss, params, dynamics, steps=4, window=window)
        return float(sum(p.sin().sum() for p in final.values()))

    psi = torch.tensor([0.3, -0.2], dtype=F64)
    for i in range(2):
        step = torch.zeros(2, dtype=F64)
        step[i] = h
        slope = (outer(psi + step) - outer(psi - step)) / (2 * h)
        assert by_psi[i].item() == pytest.approx(slope, rel=1e-7)


def test_first_order_ignores_every_evaluated_gradient() -> None:
    """It moves to the same φ, has no mixed derivative, and for plain SGD is the outer gradient."""
    exact = outer_gradients(SGD(0.1), steps=4, window=1)
    first = outer_gradients(SGD(0.1), steps=4, window=1, first_order=True)
    assert torch.equal(exact[0], first[0])
    assert difference(exact, first) > 0.01
    assert torch.equal(first[1][2], torch.zeros(2, dtype=F64))
    by_phi = torch.cat([g.flatten() for g in first[1][:2]])
    torch.testing.assert_close(by_phi, first[0].cos(), rtol=1e-14, atol=1e-14)
    # With momentum and decay the linear dynamics only scale it: c_φ = 1 + ω b_φ of Lemma 1.
    dynamics = SGD(0.1, 0.9, 1e-2)
    scaled = outer_gradients(dynamics, steps=4, window=1, first_order=True)
    by_phi = torch.cat([g.flatten() for g in scaled[1][:2]])
    factor = dynamics.coefficients(4).c_phi
    torch.testing.assert_close(by_phi, factor * scaled[0].cos(), rtol=1e-13, atol=1e-14)


def test_unused_parameters_move_by_decay() -> None:
    params = {"used": torch.ones(2, dtype=F64), "idle": torch.ones(2, dtype=F64)}
    dynamics = SGD(0.1, 0.9, 0.5)
    final, _ = unroll(lambda p: p["used"].sum(), params, dynamics, steps=2)
    assert final["idle"].tolist() == pytest.approx([1 + 0.5 * dynamics.coefficients(2).b_phi] * 2)


def test_complex_parameters_step_as_torch_optim_steps_them() -> None:
    """By SGD; by Adam as their real view."""
    start = torch.tensor([1 + 2j, 3 - 1j])

    def loss(z: torch.Tensor) -> torch.Tensor:
        return (z.abs() ** 3).sum() + (z * z).real.sum()

    for kind, ours, options in (
        (torch.optim.SGD, SGD(0.1, 0.9, 0.01), {"momentum": 0.9, "weight_decay": 0.01}),
        (torch.optim.Adam, Adam(0.1), {}),
    ):
        right = start.clone().requires_grad_()
        optimiser = kind([right], lr=0.1, **options)
        for _ in range(3):
            optimiser.zero_grad()
            loss(right).backward()
            optimiser.step()
        if kind is torch.optim.SGD:
            found = unroll(lambda p: loss(p["z"]), {"z": start}, ours, steps=3)[0]["z"]
        else:
            with pytest.raises(TypeError, match=r"params\['z'\]: torch.complex64, .*view_as_real"):
                unroll(lambda p: loss(p["z"]), {"z": start}, ours, steps=3)
            view = {"z": torch.view_as_real(start)}
            as_real = lambda p: loss(torch.view_as_complex(p["z"]))  # noqa: E731
            found = torch.view_as_complex(unroll(as_real, view, ours, steps=3)[0]["z"])
        torch.testing.assert_close(found, right.detach())


@pytest.mark.parametrize("requires_grad", [False, True])
def test_inner_gradients_are_partial_derivatives(requires_grad: bool) -> None:
    """Of parameters that are one tensor, depend on one another, are closed over or have a hook."""
    w = torch.tensor([0.3, -0.5], dtype=F64, requires_grad=requires_grad)
    params = {"w": w, "again": w, "twice": 2 * w}
    if requires_grad:
        w.register_hook(lambda g: 0 * g)

    def loss(p: Tensors) -> Tensor:
        return (p["w"] * p["again"].exp() * p["twice"].sin() * w).sum()

    end, _ = unroll(loss, params, SGD(0.1), steps=2)
    apart = {name: p.detach().clone() for name, p in params.items()}
    w = w.detach().clone()
    expected, _ = unroll(loss, apart, SGD(0.1), steps=2)
    for name in params:
        torch.testing.assert_close(end[name].detach(), expected[name], rtol=1e-13, atol=1e-14)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # by torch itself
@pytest.mark.parametrize("dynamics", [SGD(0.1, 0.9), Adam(0.01, weight_decay=0.1)])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_forward_mode(requires_grad: bool, dynamics: Dynamics) -> None:
    params, loss = problem(torch.tensor([0.3, -0.2], dtype=F64))

    def end(w1: Tensor) -> Tensor:
        return unroll(loss, {**params, "w1": w1}, dynamics, steps=4, window=2)[0]["w2"]

    start, tangent = params["w1"], torch.ones_like(params["w1"])
    backwards = torch.autograd.functional.jacobian(end, start)
    torch.testing.assert_close(torch.func.jacfwd(end)(start), backwards)
    _, expected = torch.func.jvp(end, (start,), (tangent,))
    with fwAD.dual_level():
        dual = fwAD.make_dual(start.clone().requires_grad_(requires_grad), tangent)
        found = fwAD.unpack_dual(end(dual)).tangent
    torch.testing.assert_close(found, expected)


def test_sparse_gradients() -> None:
    at = torch.tensor([1, 2, 1])
    table = torch.linspace(-1, 1, 12, dtype=F64).view(4, 3).requires_grad_()
    found: list[Tensor] = []
    for sparse in (False, True):

        def loss(p: Tensors, sparse: bool = sparse) -> Tensor:
            return torch.nn.functional.embedding(at, p["w"], sparse=sparse).sin().sum()

        end, _ = unroll(loss, {"w": table}, SGD(0.1, 0.9), steps=4, window=2)
        found += [end["w"], *torch.autograd.grad(end["w"].square().sum(), table)]
    torch.testing.assert_close(found[2:], found[:2], rtol=1e-13, atol=1e-14)


def test_the_learned_rates_of_the_docstring() -> None:
    text = textwrap.dedent(str(Dynamics.__doc__).partition("rates:\n")[2])
    exec(text, names := {"Dynamics": Dynamics})
    rates = {"x": torch.tensor([0.1, 0.2], dtype=F64, requires_grad=True)}
    start = {"x": torch.ones(2, dtype=F64)}
    for recompute in (False, True):
        end, _ = unroll(
            lambda p: p["x"].square().sum(), start, names["MetaSGD"](rates), steps=4, window=2,
            recompute=recompute, closure=[rates["x"]],
        )  # fmt: skip
        (found,) = torch.autograd.grad(end["x"].sum(), rates["x"])
        right = -8 * (1 - 4 * rates["x"])  # of (1 - 2·2·rate)²
        torch.testing.assert_close(found, right.detach(), rtol=1e-12, atol=1e-12)


def test_gradients_exist_without_grad_mode() -> None:
    """Evaluation runs under no_grad and takes the very same steps."""
    params = {"x": torch.tensor([1.0, 2.0], dtype=F64)}
    with torch.no_grad():
        quiet, _ = unroll(lambda p: p["x"].pow(4).sum(), params, SGD(0.01), steps=3)
    loud, _ = unroll(lambda p: p["x"].pow(4).sum(), params, SGD(0.01), steps=3)
    assert torch.equal(quiet["x"], loud["x"])
