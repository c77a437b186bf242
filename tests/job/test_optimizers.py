"""Our in-place optimisers are torch.optim's to the last bit, without importing its compiler."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from multistep.job.optimizers import SGD, Adam


def parameters() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(7, 3, generator=generator), torch.randn(5, generator=generator)]


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step + 1)
    return [torch.randn(p.shape, generator=generator) for p in parameters()]


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
    mine = ours(found, fused=fused, **settings)
    torchs = theirs(wanted, fused=fused, **settings)
    for step in range(12):
        if step == 6:  # resumed, with another rate
            saved, mine = mine.state(), ours(found, fused=fused, **settings)
            mine.restore(saved)
            mine.lr = torchs.param_groups[0]["lr"] = settings["lr"] / 10
        grads = gradients(step)
        mine.step(grads)
        for p, g in zip(wanted, grads, strict=True):
            p.grad = g
        torchs.step()
        assert all(torch.equal(p, q) for p, q in zip(found, wanted, strict=True))


def test_a_parameter_without_a_gradient_stays() -> None:
    params = parameters()
    optimizer = Adam(params, 1e-2, weight_decay=0.1)
    optimizer.step([gradients(0)[0], None])
    assert not torch.equal(params[0], parameters()[0])
    assert torch.equal(params[1], parameters()[1])
    assert [int(s) for s in optimizer.steps] == [1, 0]


def test_the_compiler_is_not_imported() -> None:
    code = (
        "import sys, torch; from multistep.job.optimizers import SGD, Adam; p = [torch.ones(2)]; "
        "Adam(p, 0.1).step(p); SGD(p, 0.1, 0.9, 0.0).step(p); "
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
