"""The twice-differentiable convolution against torch's own, and what a pass leaves out."""

import pytest
import torch
from torch.nn import functional as F

from multistep.networks import convolution
from multistep.networks.convolution import conv2d

F64 = torch.float64
GEOMETRIES = [
    (3, 1, 1, True),
    (3, 2, 1, False),
    (1, 2, 0, False),
    (7, 2, 3, False),
    (1, 1, 0, True),
]


def inputs(kernel: int, bias: bool) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, 2, 5, 6), (3, 2, kernel, kernel), *([(3,)] if bias else [])]
    return [torch.randn(s, generator=generator, dtype=F64, requires_grad=True) for s in shapes]


@pytest.mark.parametrize(("kernel", "stride", "padding", "bias"), GEOMETRIES)
def test_first_and_second_derivatives(kernel: int, stride: int, padding: int, bias: bool) -> None:
    tensors = inputs(kernel, bias)

    def ours(*args: torch.Tensor) -> torch.Tensor:
        return conv2d(*args, stride=stride, padding=padding)

    assert torch.autograd.gradcheck(ours, tensors, fast_mode=True)
    assert torch.autograd.gradgradcheck(ours, tensors, fast_mode=True)
    expected = F.conv2d(*tensors, stride=stride, padding=padding)
    torch.testing.assert_close(ours(*tensors), expected, rtol=1e-13, atol=1e-13)


def test_third_derivatives() -> None:
    """Nothing ends at the second: each derivative is one of the same three functions."""
    tensors = inputs(3, True)

    def slope(*args: torch.Tensor) -> torch.Tensor:
        y = conv2d(*args, padding=1).pow(3).sum()
        return torch.cat([g.flatten() for g in torch.autograd.grad(y, args, create_graph=True)])

    assert torch.autograd.gradgradcheck(slope, tensors, fast_mode=True)


def test_a_pass_computes_what_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mixed derivative needs two convolutions per layer of the gradient's six."""
    x = torch.randn(2, 3, 6, 6, dtype=F64)
    w1 = torch.randn(4, 3, 3, 3, dtype=F64, requires_grad=True)
    w2 = torch.randn(4, 4, 3, 3, dtype=F64, requires_grad=True)
    theta = torch.ones(4, 1, 1, dtype=F64, requires_grad=True)
    y = conv2d(conv2d(x, w1, padding=1).square(), w2, padding=1)
    grads = torch.autograd.grad((theta * y).square().sum(), (w1, w2), create_graph=True)
    scalar = sum((g * g.detach()).sum() for g in grads)
    (full,) = torch.autograd.grad(scalar, (theta, w1, w2), retain_graph=True)[:1]
    calls = []
    for name in ("_convolution", "_convolution_backward"):
        plain = getattr(convolution, name)

        def counted(*args: object, plain=plain, name=name) -> torch.Tensor:
            calls.append(name)
            return plain(*args)

        monkeypatch.setattr(convolution, name, counted)
    (mixed,) = torch.autograd.grad(scalar, theta)
    # F(x, u) for both layers and F(u, w) for the second; the first one's input is an image.
    assert calls == ["_convolution"] * 3
    torch.testing.assert_close(mixed, full, rtol=1e-12, atol=0)
