"""Batch norm with max-pooling as one layer against PyTorch's two, to the second derivative."""

from collections.abc import Callable, Sequence

import pytest
import torch
from fewshot_case import random
from torch import Tensor
from torch.nn import functional as F

from multistep.fewshot.pooled_norm import PooledBatchNorm

TASKS, CHANNELS, IMAGES, EPS = 2, 4, 3, 1e-3


def rows(x: Tensor) -> Tensor:
    """`[tasks, images, channels, h, w]` to `[images·h·w, tasks, channels]`."""
    return x.permute(1, 3, 4, 0, 2).flatten(0, 2)


def maps(x: Tensor, side: int) -> Tensor:
    """The inverse of `rows`."""
    return x.unflatten(0, (-1, side, side)).permute(3, 0, 4, 1, 2)


def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same of one task after the other, in PyTorch's operations."""
    pooled = []
    for task, w, b in zip(x, weight, bias, strict=True):
        centred = task - task.mean((0, 2, 3), keepdim=True)
        r = torch.rsqrt(centred.square().mean((0, 2, 3), keepdim=True) + EPS)
        pooled.append(F.max_pool2d(centred * r * w[:, None, None] + b[:, None, None], 2))
    return torch.stack(pooled)


def gradients(x: Tensor, weight: Tensor, bias: Tensor, gy: Tensor) -> tuple[Tensor, ...]:
    """∂⟨gy, y⟩/∂(x, γ, β), differentiable."""
    inputs = (x, weight, bias)
    return torch.autograd.grad(plain(*inputs), inputs, gy, create_graph=True)


def along(
    f: Callable[..., Sequence[Tensor]], point: Sequence[Tensor], direction: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """The derivative of `f` along a direction: ∂⟨direction, f's gradient by w⟩/∂w, linear in w."""
    leaves = [t.clone().requires_grad_() for t in point]
    outputs = f(*leaves)
    w = [torch.zeros_like(y).requires_grad_() for y in outputs]
    pulled = torch.autograd.grad(outputs, leaves, w, create_graph=True)
    scalar = sum(((a * b).sum() for a, b in zip(pulled, direction, strict=True)), torch.zeros(()))
    return torch.autograd.grad(scalar, w)


def example(side: int, *, ties: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Maps, and γ of both signs and zero: with ties, many windows have several maxima."""
    x = random(TASKS, IMAGES, CHANNELS, side, side, seed=0)
    weight = random(TASKS, CHANNELS, seed=1)
    weight[0, 0] = 0
    return x.round() if ties else x, {"weight": weight, "bias": random(TASKS, CHANNELS, seed=2)}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("side", [2, 5, 6])
def test_values_and_gradients_are_pytorchs(side: int, ties: bool) -> None:
    x, p = example(side, ties=ties)
    leaves = [t.clone().requires_grad_() for t in (x, p["weight"], p["bias"])]
    y = plain(*leaves)
    gy = random(*y.shape, seed=3)
    expected = torch.autograd.grad(y, leaves, gy)
    layer = PooledBatchNorm(side, EPS, scale=True, adapted=True)
    found, saved = layer.forward(p, rows(x))
    grads = {name: torch.empty_like(t) for name, t in p.items()}
    gx, _ = layer.backward(p, grads, saved, rows(gy))
    torch.testing.assert_close(maps(found, side // 2), y, rtol=1e-12, atol=1e-13)
    for a, b in zip((maps(gx, side), grads["weight"], grads["bias"]), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("side", [5, 6])
def test_derivatives_along_a_direction_are_pytorchs(side: int, adapted: bool) -> None:
    """`tangent` is ẏ, and `adjoint` the change of `backward` as x, γ, β and g_y all move."""
    x, p = example(side, ties=False)
    dx = random(*x.shape, seed=4)
    u = {name: random(*t.shape, seed=5) for name, t in p.items()}
    moving = u if adapted else {name: torch.zeros_like(t) for name, t in u.items()}
    half = side // 2
    gy, dgy = (random(TASKS, IMAGES, CHANNELS, half, half, seed=s) for s in (6, 7))

    point, direction = (x, p["weight"], p["bias"]), (dx, moving["weight"], moving["bias"])
    (dy,) = along(lambda *inputs: [plain(*inputs)], point, direction)
    expected = along(gradients, (*point, gy), (*direction, dgy))

    layer = PooledBatchNorm(side, EPS, scale=True, adapted=adapted)
    _, saved = layer.forward(p, rows(x))
    grads, product = ({n: torch.empty_like(t) for n, t in p.items()} for _ in range(2))
    _, kept = layer.backward(p, grads, saved, rows(gy))
    found, moved = layer.tangent(p, u, kept, rows(dx))
    dgx = layer.adjoint(p, u, product, kept, moved, rows(dgy))
    torch.testing.assert_close(maps(found, half), dy, rtol=1e-11, atol=1e-13)
    for a, b in zip((maps(dgx, side), product["weight"], product["bias"]), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
