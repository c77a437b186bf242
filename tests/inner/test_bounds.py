"""Nothing that is trained hangs on a gradient that versions of torch disagree on.

The gradient of `clamp` at its bound went from 1 to 0 in torch 2.14, and versions from 2.11 on are
supported.
"""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import multistep
from multistep.fewshot.layers import ReLU
from multistep.inner.dynamics import Adam
from multistep.networks.pooling import max_pool
from multistep.transfer.matching import SATURATION

F64 = torch.float64
BOUNDED = {"clamp", "clamp_", "clip", "clip_", "clamp_min", "clamp_min_", "clamp_max", "clamp_max_"}
# Where nobody differentiates: hand-written derivatives beside it, or a meta-gradient's own entries.
CONSTANT = {
    "fewshot/first_block.py": "clamp_min_",
    "fewshot/layers.py": "clamp_min_",
    "fewshot/trainer.py": "clamp_",
}


def test_no_clamp_is_differentiated() -> None:
    root, found = Path(multistep.__file__).parent, set()
    for folder in ("inner", "fewshot", "transfer", "networks"):
        for file in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and node.attr in BOUNDED:
                    found.add((file.relative_to(root).as_posix(), node.attr))
    assert found == set(CONSTANT.items())


@pytest.mark.parametrize(
    ("bounded", "at", "slope"),
    [
        (F.relu, [0.0, -0.0, 1.0], [0.0, 0.0, 1.0]),
        (F.relu6, [0.0, SATURATION, 3.0], [0.0, 0.0, 1.0]),  # λ of the loss-weight networks
        (lambda x: max_pool(x.view(1, 1, 2, 2)), [2.0, 2.0, 2.0, 1.0], [1.0, 0.0, 0.0, 0.0]),
        (lambda x: F.max_pool2d(x.view(1, 1, 2, 2), 2), [2.0] * 4, [1.0, 0.0, 0.0, 0.0]),
    ],
    ids=["relu", "relu6", "max_pool", "torch's max_pool2d"],
)
def test_slopes_at_the_bound(
    bounded: Callable[[Tensor], Tensor], at: list[float], slope: list[float]
) -> None:
    x = torch.tensor(at, dtype=F64, requires_grad=True)
    (found,) = torch.autograd.grad(bounded(x).sum(), x)
    assert found.tolist() == slope


def test_the_batched_relu_has_the_slope_of_torch_s() -> None:
    relu, x = ReLU(), torch.tensor([0.0, -1.0, 2.0], dtype=F64)
    y, saved = relu.forward({}, x.clone())
    g, _ = relu.backward({}, {}, saved, torch.ones_like(y))
    assert g.tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(("factor", "masked"), [(0.5, True), (1.0, False), (4.0, False)])
def test_second_derivative_of_adam_at_the_smallest_moment(factor: float, masked: bool) -> None:
    """Its slope is masked below the smallest normal number, and from there on it isn't."""
    tiny = torch.finfo(F64).tiny * factor
    state = {"mean": {"w": torch.ones(1, dtype=F64)}, "step": 0}
    variance = torch.full((1,), tiny / 0.5, dtype=F64, requires_grad=True)
    dynamics = Adam(1.0, (0.9, 0.5), eps=1e-150)
    zero = {"w": torch.zeros(1, dtype=F64)}
    moved, _ = dynamics.step(zero, state | {"variance": {"w": variance}}, zero)
    (first,) = torch.autograd.grad(moved["w"].sum(), variance, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), variance, allow_unused=True)
    assert (first.item() == 0) == masked
    assert (second.abs().item() == 0) == masked
