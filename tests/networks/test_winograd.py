"""Convolutions in fewer multiplications, beside direct sums in float64."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from multistep import machine_code
from multistep.networks import winograd
from multistep.networks.convolution import conv2d

pytestmark = pytest.mark.skipif(not machine_code.width(), reason="no compiler for this machine")
close = partial(torch.testing.assert_close, rtol=0, check_dtype=False)


def draw(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("tiles", [4, winograd.TILES])
@pytest.mark.parametrize(
    ("side", "ins", "outs"), [(2, 32, 64), (4, 64, 32), (6, 32, 32), (8, 32, 48), (12, 48, 32)]
)
def test_each_product(
    side: int, ins: int, outs: int, tiles: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several pieces too, the last one smaller; `threads` change no bit."""
    x, weight, gy = draw((5, ins, side, side), (outs, ins, 3, 3), (5, outs, side, side))
    x.requires_grad_()
    weight.requires_grad_()
    y = F.conv2d(x, weight, padding=1)
    by_x, by_weight = torch.autograd.grad(y, (x, weight), gy)
    one, two, three = (t.detach().float() for t in (x, weight, gy))
    assert winograd.suits(one, two, by_weight=True)
    assert winograd.suits(one, two, by_weight=False) == (side >= 8)
    monkeypatch.setattr(winograd, "TILES", tiles)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    for found, expected in (
        (winograd.convolve(one, two), y.detach()),
        (winograd.convolve(three, two, turned=True), by_x),
        (winograd.weight_gradient(one, three), by_weight),
    ):
        close(found, expected, atol=2e-5 * float(expected.abs().max()))


def test_second_derivatives_take_them_and_forward_passes_do_not() -> None:
    given = draw((3, 32, 8, 8), (32, 32, 3, 3), (32,), (3, 32, 8, 8), (3, 32, 8, 8))

    def slopes(dtype: torch.dtype) -> tuple[Tensor, ...]:
        x, weight, bias, gy, u = (t.to(dtype).requires_grad_() for t in given)
        y = conv2d(x, weight, bias, padding=1)
        first = torch.autograd.grad(y, (x, weight, bias), gy, create_graph=True)
        weighed = (first[0] * u).sum() + first[1].square().sum()
        return y, *first, *torch.autograd.grad(weighed, (x, weight, gy))

    found, expected = slopes(torch.float32), slopes(torch.float64)
    for one, other in zip(found, expected, strict=True):
        close(one, other, atol=2e-5 * float(other.detach().abs().max()))
    y = F.conv2d(*(t.float() for t in given[:3]), padding=1)
    assert torch.equal(found[0], y)
