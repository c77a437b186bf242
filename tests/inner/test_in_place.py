"""Steps in place are torch.optim's to the last bit, without importing its compiler."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from multistep.inner.dynamics import SGD, Adam, Tensors
from multistep.inner.in_place import step_


def parameters(seed: int = 0) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"weight": (7, 3), "bias": (5,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize(
    ("ours", "theirs", "settings"),
    [
        (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}),
        (Adam, torch.optim.Adam, {"lr": 1e-3}),
        (Adam, torch.optim.Adam, {"lr": 1e-2, "weight_decay": 1e-2, "eps": 1e-3}),
    ],
)
def test_same_bits_as_torch(ours: Any, theirs: Any, settings: Any, fused: bool | None) -> None:
    found, wanted = parameters(), parameters()
    dynamics = ours(**settings)
    state = dynamics.init(found)
    torchs = theirs(list(wanted.values()), fused=fused, **settings)
    for step in range(12):
        rate = settings["lr"] / (10 if step >= 6 else 1)
        torchs.param_groups[0]["lr"], grads = rate, parameters(step + 1)
        step_(dynamics, found, state, grads, lr=rate, fused=fused)
        for name, p in wanted.items():
            p.grad = grads[name]
        torchs.step()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("dynamics", [SGD(0.1), SGD(0.1, 0.9, 1e-2), Adam(0.1, weight_decay=0.1)])
def test_a_step_in_place_is_a_step_of_the_dynamics(dynamics: SGD | Adam) -> None:
    """On the tensors that were given, whose state the pure function reads and writes alike."""
    params = {name: p.double() for name, p in parameters().items()}
    state, kept = dynamics.init(params), dict(params)
    expected, after = dict(params), dynamics.init(params)
    for step in range(3):
        grads = {name: g.double() for name, g in parameters(step + 1).items()}
        expected, after = dynamics.step(expected, after, grads)
        step_(dynamics, params, state, grads)
    assert all(params[name] is kept[name] for name in kept)
    torch.testing.assert_close(params, expected, rtol=1e-12, atol=1e-14)
    if dynamics != SGD(0.1):  # which has no use for a velocity
        torch.testing.assert_close(state, after, rtol=1e-12, atol=1e-14)


def test_a_rate_and_a_count_on_the_device_are_the_same_steps() -> None:
    """As a captured graph reads them; plain gradient descent and Adam."""
    for dynamics in (SGD(0.1), Adam(0.1)):
        found, wanted = parameters(), parameters()
        state, expected = dynamics.init(found), dynamics.init(wanted)
        rate = torch.tensor(0.0)
        for step in range(3):
            rate.fill_(0.1 / (step + 1))
            step_(dynamics, found, state, parameters(step + 1), lr=rate)
            step_(dynamics, wanted, expected, parameters(step + 1), lr=0.1 / (step + 1))
        torch.testing.assert_close(found, wanted)


def test_the_compiler_is_not_imported() -> None:
    code = (
        "import sys, torch; from multistep.inner.dynamics import SGD, Adam; "
        "from multistep.inner.in_place import step_; p = {'p': torch.ones(2)}; "
        "[step_(d, p, d.init(p), p) for d in (SGD(0.1, 0.9), Adam(0.1))]; "
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
