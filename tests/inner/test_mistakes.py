"""What the inner loop can't do is told: losses, parameters, dynamics, numbers of steps."""

from typing import Any

import pytest
import torch
from inner_problem import F64
from torch import Tensor

from multistep.inner.dynamics import SGD, Adam, Dynamics, State, Tensors
from multistep.inner.unroll import unroll, unroll_vjp


@pytest.mark.parametrize(
    ("loss", "params", "said"),
    [
        (
            lambda p: p["x"] ** 2,
            {"x": torch.ones(2)},
            r"loss: .* one number, not \[2\]; take a mean",
        ),
        (lambda p: p["x"].sum().item(), {"x": torch.ones(2)}, "loss: .*, not float"),
        (lambda p: None, {"x": torch.ones(2)}, "loss: .*, not NoneType"),
        (lambda p: p["x"].detach().sum(), {"x": torch.ones(2)}, "loss: depends on none of params"),
        (sum, [torch.ones(2)], r"params: .*, not list; .*\(module.named_parameters"),
        (sum, torch.nn.Linear(2, 2), "params: .*, not Linear"),
        (sum, {"n": torch.tensor(3)}, r"params\['n'\]: torch.int64, .* leave it out"),
        (sum, {"n": {"w": torch.ones(2)}}, r"params\['n'\]: a dictionary; give one that is flat"),
        (sum, {"n": 3.0}, r"params\['n'\]: float, .* leave it out"),
        (
            sum,
            {"n": torch.ones(3).to(torch.float8_e4m3fn)},
            r"params\['n'\]: torch.float8_e4m3fn, al",
        ),
        (sum, {"n": torch.eye(3).to_sparse()}, r"params\['n'\]: torch.sparse_coo; give it dense"),
    ],
)
def test_what_cannot_be_stepped_along_is_told(loss: Any, params: Any, said: str) -> None:
    for recompute in (False, True):
        with pytest.raises((TypeError, ValueError), match=said):
            unroll(loss, params, SGD(0.1), steps=2, recompute=recompute)


@pytest.mark.parametrize("dynamics", [SGD(0.1, 0.9), Adam(0.1)])
@pytest.mark.parametrize(
    "wrong", [torch.arange(3), torch.eye(3).to_sparse(), 3.0, torch.ones(3).to(torch.float8_e5m2)]
)
def test_dynamics_by_themselves_tell_it_too(dynamics: Dynamics, wrong: Any) -> None:
    """Adam made floats of whole numbers without a word."""
    with pytest.raises(TypeError, match=r"params\['n'\]: "):
        dynamics.init({"n": wrong})


@pytest.mark.parametrize("dynamics", [SGD(0.1, 0.9), Adam(0.1)])
@pytest.mark.parametrize(
    ("n", "said"),
    [
        (0, "n: at least 1, not 0"),
        (-2, "n: at least 1, not -2"),
        (1.5, r"n: a whole number, not 1\.5"),
        ("2", "n: a whole number, not '2'"),
        (None, "n: a whole number, not None"),
    ],
)
def test_a_window_of_no_steps_is_told(dynamics: Dynamics, n: Any, said: str) -> None:
    """Adam would take none, or as many from its count."""
    params = {"x": torch.ones(2)}
    with pytest.raises((TypeError, ValueError), match=f"^{said}"):
        dynamics.window(params, dynamics.init(params), params, n)


def test_inference_mode_and_rates_that_are_no_numbers_are_told() -> None:
    """The former would take no step, without a word."""
    with torch.inference_mode(), pytest.raises(ValueError, match=r"use no_grad\(\)"):
        unroll(lambda p: p["x"].sum(), {"x": torch.ones(1)}, SGD(0.1), steps=1)
    for kind, wrong in ((SGD, {"lr": torch.ones(1)}), (Adam, {"lr": 1, "betas": (None, 0.9)})):
        with pytest.raises(TypeError, match=r"(lr|betas) is a number, not (Tensor|NoneType); "):
            kind(**wrong)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dynamics": torch.optim.SGD([torch.ones(1)], lr=0.1)}, "dynamics: SGD has no init"),
        ({"steps": 2.0}, "steps: a whole number, not 2.0"),
        ({"window": "2"}, "window: a whole number, not '2'"),
        ({"state": {}}, "state: lacks velocity x; give what"),
        ({"state": Adam(0.1).init({"x": torch.ones(1)})}, "state: lacks velocity x"),
        ({"state": SGD(0.1).init({"y": torch.ones(1)})}, "state: lacks velocity x"),
        ({"dynamics": Adam(0.1), "state": 5}, "state: lacks step"),
        ({"dynamics": Adam(0.1), "state": {"step": 3.0}}, "state: step: a whole number, not 3.0"),
        ({"steps": -1}, "steps: at least 0, not -1"),
        ({"window": 0}, "window: at least 1, not 0"),
        ({"steps": torch.tensor(2.0)}, r"steps: a whole number, not tensor\(2"),
        ({"dynamics": Adam(0.1), "state": {"step": -1}}, "state: step: at least 0, not -1"),
        (
            {"state": SGD(0.1).init({"x": torch.ones(2)})},
            r"velocity x is no tensor \[1\] of torch.float32 like .*; give",
        ),
        (
            {"state": SGD(0.1).init({"x": torch.ones(1, dtype=F64)})},
            r"velocity x is no tensor \[1\] of torch.float32 like",
        ),
        ({"state": {"velocity": {"x": 1.0}}}, r"velocity x is no tensor \[1\] of "),
        ({"closure": torch.ones(2)}, "closure: give a list of tensors"),
        ({"closure": {"psi": torch.ones(2)}}, "closure: give a list of tensors"),
    ],
)
def test_what_is_no_dynamics_number_or_state_is_told(change: dict[str, Any], said: str) -> None:
    asked: dict[str, Any] = {"dynamics": SGD(0.1), "steps": 2} | change
    with pytest.raises((TypeError, ValueError), match=said):
        unroll(lambda p: p["x"].sum(), {"x": torch.ones(1)}, **asked)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (SGD, {"lr": -0.1}),
        (SGD, {"lr": float("nan")}),
        (SGD, {"lr": 0.1, "momentum": -1}),
        (SGD, {"lr": 0.1, "weight_decay": float("inf")}),
        (Adam, {"lr": 0.1, "betas": (0.9, 1)}),
        (Adam, {"lr": 0.1, "betas": 0.9}),
        (Adam, {"lr": 0.1, "betas": (0.9, 0.9, 0.9)}),
        (Adam, {"lr": 0.1, "eps": -1}),
    ],
)
def test_settings_that_torch_optim_does_not_take_are_told(kind: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{list(wrong)[-1]}(:| is) "):
        kind(**wrong)


def test_a_loss_of_a_module_s_own_parameters_is_told() -> None:
    """They are the first parameters, so that a first step, but no other, could be taken."""
    module = torch.nn.Linear(2, 1)
    with pytest.raises(ValueError, match=r"depends on none of params; .*functional_call"):
        unroll(lambda p: module(torch.ones(2)).sum(), dict(module.named_parameters()), SGD(0.1),
               steps=2)  # fmt: skip
    with torch.inference_mode():
        params = {"x": torch.ones(1)}
    with pytest.raises(ValueError, match=r"params\['x'\]: made under inference_mode\(\).* clone"):
        unroll(lambda p: p["x"].sum(), params, SGD(0.1), steps=2)


class Given(Dynamics):
    """What a window gives is given."""

    def __init__(self, window: Any) -> None:
        self.window = window  # type: ignore[method-assign]

    def init(self, params: Tensors) -> State:
        return {}


def write_over(params: Tensors, state: State, grads: Tensors, n: int) -> tuple[Tensors, State]:
    for name, g in grads.items():
        params[name].detach().sub_(0.1 * g.detach())
    return params, state


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(
    "window", [lambda p, s, g, n: p, lambda p, s, g, n: ({"x": p["x"]}, s), lambda p, s, g, n: None]
)
def test_dynamics_that_lose_parameters_are_told(window: Any, recompute: bool) -> None:
    start = {"x": torch.ones(2, requires_grad=True), "y": torch.ones(2)}
    with pytest.raises(ValueError, match=r"^dynamics: Given.window has to give the same params"):
        unroll(lambda p: p["x"].sum(), start, Given(window), steps=2, recompute=recompute)


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
def test_parameters_that_are_written_over_are_told(requires_grad: bool, recompute: bool) -> None:
    """The meta-gradient would be that of no inner loop, and the caller's own tensors move."""
    x = torch.linspace(-1, 2, 12, dtype=F64).view(4, 3).requires_grad_(requires_grad)

    def renormed(p: Tensors) -> Tensor:
        return torch.nn.functional.embedding(torch.tensor([1, 3]), p["x"], max_norm=1.0).sum()

    plain = lambda p: p["x"].sin().sum()  # noqa: E731
    for loss, dynamics, who in (
        (renormed, SGD(0.1), "loss"),
        (plain, Given(write_over), ".*Given"),
    ):
        with pytest.raises(ValueError, match=rf"^{who}.* changes params\['x'\] in place"):
            unroll(loss, {"x": x}, dynamics, steps=2, recompute=recompute)


@pytest.mark.parametrize(("steps", "window"), [(8, 3), (2, 4)])
def test_window_must_divide_steps(steps: int, window: int) -> None:
    with pytest.raises(ValueError, match=f"steps={steps} is not divisible by window={window}"):
        unroll(lambda p: p["x"].sum(), {"x": torch.ones(1)}, SGD(0.1), steps=steps, window=window)


def test_a_pullback_of_other_dynamics_is_told() -> None:
    with pytest.raises(TypeError, match=r"^dynamics: Adam, but .* SGD's; take unroll"):
        unroll_vjp(None, torch.ones(2), Adam(0.1), steps=1)  # type: ignore[arg-type]
