"""Batch norm and pooling against PyTorch's, to the second derivative."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multistep.networks.batch_norm import BatchNorm2d
from multistep.networks.pooling import max_pool

F64 = torch.float64


def example(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def norms(channels: int) -> tuple[nn.BatchNorm2d, nn.BatchNorm2d]:
    ours, theirs = BatchNorm2d(channels).double(), nn.BatchNorm2d(channels).double()
    for i, (a, b) in enumerate(zip(ours.parameters(), theirs.parameters(), strict=True)):
        a.data = b.data = example(channels, seed=i + 5)
    return ours, theirs


def test_batch_norm_is_pytorchs() -> None:
    ours, theirs = norms(3)
    x = 2 + 3 * example(4, 3, 2, 5)
    for training in (True, True, False):
        a, b = ours.train(training)(x), theirs.train(training)(x)
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
        for left, right in zip(ours.buffers(), theirs.buffers(), strict=True):
            torch.testing.assert_close(left, right)
    assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("given", ["x", "w", "b", "xwb"])
def test_second_derivatives_of_batch_norm(given: str) -> None:
    """Whichever of the three gradients is differentiated, and with respect to any of them."""
    results = []
    for norm in norms(3):
        x = (2 + 3 * example(4, 3, 2, 5)).requires_grad_()
        gy = example(4, 3, 2, 5, seed=1).requires_grad_()
        inputs = (x, norm.weight, norm.bias)
        grads = torch.autograd.grad(norm.train()(x), inputs, gy, create_graph=True)
        chosen = [g for g, name in zip(grads, "xwb", strict=True) if name in given]
        scalar = sum((g * example(*g.shape, seed=2)).sum() for g in chosen)
        results.append(
            torch.autograd.grad(scalar, (x, gy, norm.weight), materialize_grads=True)  # type: ignore[arg-type]
        )
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_gradients_of_batch_norm_by_finite_differences() -> None:
    norm, _ = norms(2)
    weight, bias = norm.weight.detach(), norm.bias.detach()

    def apply(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        buffers = {n: v.clone() for n, v in norm.named_buffers()}
        return torch.func.functional_call(norm, {"weight": w, "bias": b, **buffers}, (x,))

    inputs = [t.requires_grad_() for t in (example(3, 2, 2, 3), weight, bias)]
    assert torch.autograd.gradcheck(apply, inputs)
    assert torch.autograd.gradgradcheck(apply, inputs)


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (1, 1, 2, 2), (2, 1, 5, 4)])
def test_pooling_is_pytorchs(shape: tuple[int, ...]) -> None:
    """Ties as well: after a ReLU whole windows are zero."""
    results = []
    for pool in (max_pool, lambda x: F.max_pool2d(x, 2)):
        x = example(*shape).round().relu().requires_grad_()
        y = pool(x.square())
        (gx,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        (ggx,) = torch.autograd.grad(gx.pow(2).sum(), x)
        results.append((y, gx, ggx, pool(x.detach())))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
