"""Recomputed windows give what kept ones do, in the memory of one."""

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as fwAD
from inner_problem import F64, problem
from torch import Tensor

from multistep.inner.dynamics import SGD, Adam, Dynamics, State, Tensors
from multistep.inner.unroll import unroll
from multistep.transfer.saved import saved_bytes

DYNAMICS = [SGD(0.1, 0.9, 1e-2), Adam(0.01, weight_decay=1e-2)]


def gradients(
    dynamics: Dynamics, steps: int, window: int, constants: bool = False, **kwargs: object
) -> list[Tensor]:
    """Final values and gradients for the start, its state and ψ, of two unrolls one by one."""
    psi = torch.tensor([0.3, -0.2], dtype=F64, requires_grad=True)
    closed = psi * 1.0  # not a leaf
    params, loss = problem(closed, idle=True)
    state = dynamics.init(params)
    moments = [t for v in state.values() if isinstance(v, dict) for t in v.values()]
    for i, m in enumerate(moments):
        m.fill_(0.1 * (i + 1))
    leaves = [*params.values(), *moments]
    if not constants:
        for leaf in leaves:
            leaf.requires_grad_()
    if kwargs.get("recompute"):
        kwargs["closure"] = [closed]
    windows = {"steps": steps, "window": window}
    middle, state = unroll(loss, params, dynamics, state=state, **windows, **kwargs)  # type: ignore[arg-type]
    end, state = unroll(loss, middle, dynamics, steps=1, state=state, **kwargs)  # type: ignore[arg-type]
    after = (t for v in state.values() if isinstance(v, dict) for t in v.values())
    tensors = [*end.values(), *after]
    outer = sum(t.sin().sum() for t in tensors)
    wanted = [psi] if constants else [*leaves, psi]
    grads = torch.autograd.grad(outer, wanted, materialize_grads=True)  # type: ignore[arg-type]
    return [*(t.detach() for t in tensors), *grads]


@pytest.mark.parametrize("dynamics", DYNAMICS, ids=lambda d: type(d).__name__)
@pytest.mark.parametrize(("steps", "window"), [(0, 1), (3, 1), (4, 2), (3, 3)])
@pytest.mark.parametrize("constants", [False, True])
def test_equal_to_kept(dynamics: Dynamics, steps: int, window: int, constants: bool) -> None:
    kept = gradients(dynamics, steps, window, constants)
    found = gradients(dynamics, steps, window, constants, recompute=True)
    for a, b in zip(found, kept, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)


def test_the_norm_of_a_gradient_is_not_rounded_as_the_gradient_is() -> None:
    """Two of bfloat16 that are as good as equal (norms 16.0624 and 16.0631) have norms of bfloat16
    that aren't (16 and 16.125).
    """
    factor = torch.ones((), requires_grad=True)
    second = itertools.chain([1.4140625], itertools.repeat(1.421875))

    def loss(params: Tensors) -> Tensor:
        return factor * (params["w"].float() * torch.tensor([16.0, next(second)])).sum()

    start = {"w": torch.ones(2, dtype=torch.bfloat16)}
    end, _ = unroll(loss, start, SGD(0.1), steps=1, closure=[factor], recompute=True)
    torch.autograd.grad(end["w"].sum(), factor)


def test_what_is_drawn_is_drawn_again() -> None:
    """With other masks on the way back the meta-gradient would be another function's."""
    found, after = [], []
    for recompute in (False, True):
        torch.manual_seed(0)
        start = {"w": torch.linspace(-1, 1, 64, dtype=F64).requires_grad_()}

        def loss(p: Tensors) -> Tensor:
            return torch.nn.functional.dropout(p["w"].sin(), 0.5).square().sum()

        end, _ = unroll(loss, start, SGD(0.1, 0.9), steps=4, window=2, recompute=recompute)
        found += torch.autograd.grad(end["w"].square().sum(), start["w"])
        after.append(torch.rand(3))
    torch.testing.assert_close(found[1], found[0], rtol=1e-13, atol=1e-15)
    assert torch.equal(*after)


def test_a_window_costs_its_start_in_memory_and_no_graph() -> None:
    psi = torch.zeros(2, dtype=F64, requires_grad=True)
    params, loss = problem(psi, idle=True)
    sizes = {}
    for steps in (2, 8):
        for recompute in (False, True):
            with saved_bytes() as peak:
                options = {"steps": steps, "recompute": recompute, "closure": [psi]}
                end, _ = unroll(loss, params, DYNAMICS[0], **options)  # type: ignore[arg-type]
                torch.autograd.grad(end["w1"].sum(), psi)
            sizes[steps, recompute] = peak()
    start = 2 * sum(p.nbytes for p in params.values())  # φ and its velocity
    assert sizes[8, True] - sizes[2, True] < 8 * start
    assert sizes[8, False] - sizes[2, False] > 12 * start


def test_every_gradient_is_watched_once() -> None:
    for recompute in (False, True):
        psi = torch.zeros(2, dtype=F64, requires_grad=True)
        params, loss = problem(psi, idle=True)
        seen: list[Tensors] = []
        options = {"recompute": recompute, "closure": [psi], "watch": seen.append}
        end, _ = unroll(loss, params, DYNAMICS[0], steps=4, window=2, **options)  # type: ignore[arg-type]
        torch.autograd.grad(end["w1"].sum(), psi)
        assert [sorted(grads) for grads in seen] == [["w1", "w2"]] * 2
        assert not any(g.requires_grad for grads in seen for g in grads.values())


def test_the_way_back_can_be_taken_twice() -> None:
    psi = torch.zeros(2, dtype=F64, requires_grad=True)
    params, loss = problem(psi, idle=True)
    end, _ = unroll(loss, params, DYNAMICS[0], steps=3, recompute=True, closure=[psi])  # type: ignore[arg-type]
    total = end["w1"].sum()
    first, second = (torch.autograd.grad(total, psi, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_nothing_to_differentiate_leaves_no_graph() -> None:
    """Neither the parameters' own leaves nor anything else asks for a gradient afterwards."""
    params, loss = problem(torch.zeros(2, dtype=F64), idle=True)
    for recompute in (False, True):
        end, state = unroll(loss, params, DYNAMICS[0], steps=2, recompute=recompute)  # type: ignore[arg-type]
        assert not any(t.requires_grad for t in (*end.values(), *state["velocity"].values()))
    assert not any(p.requires_grad for p in params.values())


def test_transforms_of_torch_func_still_work() -> None:
    params, loss = problem(torch.zeros(2, dtype=F64), idle=True)

    def outer(w1: Tensor, **kwargs: bool) -> Tensor:
        start = {**params, "w1": w1}
        end, _ = unroll(loss, start, DYNAMICS[0], steps=2, **kwargs)  # type: ignore[arg-type]
        return end["w2"].sum()

    by_func = torch.func.grad(outer)(params["w1"])
    w1 = params["w1"].clone().requires_grad_()
    torch.testing.assert_close(by_func, torch.autograd.grad(outer(w1), w1)[0])
    stacked = torch.func.vmap(outer)(torch.stack([params["w1"]] * 3))
    torch.testing.assert_close(stacked, outer(params["w1"]).expand(3))
    with pytest.raises(ValueError, match="leave it out"):
        torch.func.grad(lambda w: outer(w, recompute=True))(params["w1"])
    # Else a tangent of what the loss closes over would be dropped.
    with fwAD.dual_level(), pytest.raises(ValueError, match=r"forward mode; leave it out"):
        outer(w1, recompute=True)


def test_what_is_closed_over_must_be_named() -> None:
    """Else its gradient would be left out without a word, as of θ in a proximal term."""
    w = torch.ones(2, dtype=F64, requires_grad=True)

    def loss(p: Tensors) -> Tensor:
        return (p["w"] - w * 2).square().sum()

    expected, found = (
        torch.autograd.grad(unroll(loss, {"w": w}, SGD(0.1), steps=2, **kwargs)[0]["w"].sum(), w)[0]  # type: ignore[arg-type]
        for kwargs in ({}, {"recompute": True, "closure": iter([w])})
    )
    torch.testing.assert_close(found, expected)
    for closure in ([], [torch.ones(2, requires_grad=True)]):
        with pytest.raises(ValueError, match=r"closure: lacks a tensor \[2\] .*; name it there"):
            unroll(loss, {"w": w}, SGD(0.1), steps=2, recompute=True, closure=closure)


def test_complex_parameters() -> None:
    """What comes by them counts between windows, too."""
    found = []
    for recompute in (False, True):
        z = torch.tensor([1 + 2j, 3 - 1j], dtype=torch.complex128, requires_grad=True)
        psi = torch.tensor(0.7, dtype=F64, requires_grad=True)

        def loss(p: Tensors, psi: Tensor = psi) -> Tensor:
            return (p["z"].abs() ** 3).sum() * psi + (p["z"] * p["z"]).real.sum()

        end, _ = unroll(loss, {"z": z}, SGD(0.01, 0.9), steps=3, recompute=recompute, closure=[psi])
        found.append(torch.autograd.grad(end["z"].abs().square().sum(), [z, psi]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-14)


class Learned(Dynamics):
    """With a rate that is learned, and a velocity in a state of any form."""

    def __init__(self, rate: Tensor, wrap: Callable[[Tensors], Any] = dict) -> None:
        self.rate, self.wrap = rate, wrap

    def init(self, params: Tensors) -> State:
        state: State = self.wrap({k: torch.zeros_like(p) for k, p in params.items()})
        return state

    def window(
        self, params: Tensors, state: State, grads: Tensors, n: int
    ) -> tuple[Tensors, State]:
        old = state if isinstance(state, dict) else vars(state)
        v = {k: 0.9 * old[k] + grads[k] for k in params}
        return {k: p - self.rate * v[k] for k, p in params.items()}, self.wrap(v)


def test_what_the_dynamics_read_must_be_named_and_seen() -> None:
    """Else gradients of learned rates, and by a state in an object, are left out silently."""
    rate = torch.tensor(0.1, dtype=F64, requires_grad=True)
    start = {"w": torch.ones(2, dtype=F64, requires_grad=True)}

    def end(dynamics: Dynamics, **kwargs: Any) -> Tensor:
        return unroll(lambda p: p["w"].sin().sum(), start, dynamics, steps=3, **kwargs)[0]["w"]

    wanted = [rate, start["w"]]
    kept = torch.autograd.grad(end(Learned(rate)).sum(), wanted)
    found = torch.autograd.grad(end(Learned(rate), recompute=True, closure=[rate]).sum(), wanted)
    torch.testing.assert_close(found, kept, rtol=1e-13, atol=1e-14)
    with pytest.raises(
        ValueError, match=r"^closure: lacks a tensor \[\] .* Learned.window reads; "
    ):
        end(Learned(rate), recompute=True)
    wrapped = Learned(rate.detach(), lambda v: SimpleNamespace(**v))
    end(wrapped)
    with pytest.raises(ValueError, match=r"^state: has a SimpleNamespace, .*; make it of dict"):
        end(wrapped, recompute=True)


def test_each_tensor_of_the_closure_counts_once() -> None:
    """Named twice, or beside what is computed from it, its gradient came twice."""
    w = torch.tensor([0.5, 1.0], dtype=F64, requires_grad=True)
    twice, own = 2 * w, w.view_as(w)

    def of(closed: Tensor, **kwargs: Any) -> Tensor:
        end, _ = unroll(
            lambda p: (p["x"] * twice * closed).sin().sum(), {"x": torch.ones(2, dtype=F64)},
            SGD(0.1), steps=2, **kwargs,
        )  # fmt: skip
        return torch.autograd.grad(end["x"].sum(), w, retain_graph=True)[0]

    expected = of(w)
    for closure in ([twice, own], [own, twice, own]):
        torch.testing.assert_close(of(own, recompute=True, closure=closure), expected)
    for closure in ([twice, w], [w, own, twice]):
        with pytest.raises(ValueError, match=r"^closure: from a tensor \[2\] .*t.view_as\(t\)"):
            of(w, recompute=True, closure=closure)


def test_a_closure_that_was_written_over_is_told() -> None:
    """A small step of it between the ways would give the gradient at other values."""
    w = torch.tensor([0.5, 1.0], dtype=F64, requires_grad=True)
    end, _ = unroll(
        lambda p: (p["x"] * w).sin().sum(), {"x": torch.ones(2, dtype=F64)}, SGD(0.1), steps=2,
        recompute=True, closure=[w],
    )  # fmt: skip
    with torch.no_grad():
        w += 1e-6
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        end["x"].sum().backward()


def test_a_second_derivative_is_told() -> None:
    """It would be zero, or a constant, without a word."""

    def end(w: Tensor) -> Tensor:
        steps = {"steps": 2, "recompute": True}
        return unroll(lambda p: p["w"].sin().sum(), {"w": w}, SGD(0.1), **steps)[0]["w"]  # type: ignore[arg-type]

    w = torch.ones(2, dtype=F64, requires_grad=True)
    for total in (end(w).sum(), end(w).square().sum()):
        with pytest.raises(
            RuntimeError, match=r"^recompute=True: .* once; leave create_graph=True"
        ):
            torch.autograd.grad(total, w, create_graph=True)


def test_a_loss_with_other_values_on_the_way_back_is_told() -> None:
    """With the next mini-batches the meta-gradient would be another function's."""
    batches = iter(torch.linspace(0, 3, 40, dtype=F64).view(20, 2))
    start = {"w": torch.ones(2, dtype=F64, requires_grad=True)}
    end, _ = unroll(
        lambda p: (p["w"] * next(batches)).sin().sum(), start, SGD(0.1), steps=4, recompute=True
    )
    with pytest.raises(RuntimeError, match=r"^loss: has other values .*; draw its mini-batches"):
        end["w"].sum().backward()


def test_a_loss_that_detaches_other_things_on_the_way_back_is_told() -> None:
    """Its values are the same, what its meta-gradient goes through isn't."""
    calls = itertools.count()
    start = {n: torch.ones(2, dtype=F64, requires_grad=True) for n in "wv"}

    def loss(p: Tensors) -> Tensor:
        v = p["v"].detach() if next(calls) == 3 else p["v"]  # the first window taken again
        return p["w"].sin().sum() + v.cos().sum()

    end, _ = unroll(loss, start, SGD(0.1), steps=3, recompute=True)
    with pytest.raises(RuntimeError, match=r"^loss: has other values or gradients"):
        end["w"].sum().backward()


def test_the_way_back_has_the_autocast_of_before() -> None:
    w = torch.linspace(-1, 1, 64).view(8, 8).requires_grad_()
    found = []
    for recompute in (False, True):
        with torch.autocast("cpu", torch.bfloat16):
            features = torch.ones(4, 8) @ w  # in bfloat16, which no other product takes
            start = {"v": torch.ones(8, 1, requires_grad=True)}
            end, _ = unroll(
                lambda p, of=features: (of @ p["v"]).float().square().mean(), start, SGD(0.01),
                steps=2, recompute=recompute, closure=[features],
            )  # fmt: skip
        found += torch.autograd.grad(end["v"].sum(), w)
    torch.testing.assert_close(found[1], found[0], rtol=2e-2, atol=2e-2)


def test_a_state_that_grows() -> None:
    class Momentum(Dynamics):
        def init(self, params: Tensors) -> State:
            return {}

        def window(
            self, params: Tensors, state: State, grads: Tensors, n: int
        ) -> tuple[Tensors, State]:
            new = {k: 0.9 * state[k] + g if k in state else g for k, g in grads.items()}
            return {k: p - 0.1 * n * new[k] for k, p in params.items()}, new

    start = {"w": torch.ones(2, dtype=F64, requires_grad=True)}
    found = []
    for recompute in (False, True):
        end, _ = unroll(
            lambda p: p["w"].sin().sum(), start, Momentum(), steps=3, recompute=recompute
        )
        found += torch.autograd.grad(end["w"].sum(), start["w"])
    torch.testing.assert_close(found[1], found[0], rtol=1e-13, atol=1e-14)
