"""The compiled loops in float32 against the plain rules of the same layers in float64."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from fewshot_case import random
from torch import Tensor

from multistep import machine_code
from multistep.fewshot import convolution, kernels
from multistep.fewshot.first_block import FirstBlock, Images, Patches
from multistep.fewshot.norm_relu import Kept, NormReLU
from multistep.networks.conv4 import ConvShape

pytestmark = pytest.mark.skipif(not machine_code.width(), reason="no compiler for this machine")
TASKS, IMAGES, EPS = 2, 3, 1e-3
Rules = dict[str, Tensor]


def passes(layer: Any, x: Any, p: Rules, u: Rules, dx: Tensor | None) -> tuple[Rules, Any]:
    """What the four rules make of one input, by name, and what the first two keep."""
    kind = {"dtype": p["bias"].dtype}
    y, saved = layer.forward(p, x)
    gy, dgy = (random(*y.shape, seed=s).to(**kind) for s in (7, 8))
    into = [{n: torch.full((TASKS, *t.shape[1:]), 9.0, **kind) for n, t in p.items()} for _ in "12"]
    gx, kept = layer.backward(p, into[0], saved, gy)
    dy, moved = layer.tangent(p, u, kept, dx)
    dgx = layer.adjoint(p, u, into[1], kept, moved, dgy)
    found = {"y": y, "gx": gx, "dy": dy, "dgx": dgx}
    for name, grads in zip(("gradient", "product"), into, strict=True):
        found |= {f"{name} by {n}": g for n, g in grads.items()}
    return {name: t for name, t in found.items() if t is not None}, kept


def close(found: Rules, expected: Rules) -> None:
    assert found.keys() == expected.keys()
    for name, one in found.items():
        scale = expected[name].abs().max().item() + 1e-6
        error = (one - expected[name]).abs().max().item() / scale
        assert error < 2e-5, f"{name}: {error}"


def singles(p: Rules) -> Rules:
    return {n: t.float() for n, t in p.items()}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("scale", "adapted"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize(
    ("side", "pooled", "channels"), [(7, False, 64), (17, False, 48), (6, True, 32), (9, True, 16)]
)
def test_norm_relu(
    side: int, pooled: bool, channels: int, scale: bool, adapted: bool, shared: bool
) -> None:
    x, dx = (random(IMAGES * side**2, TASKS, channels, seed=s) for s in (0, 1))
    tasks = 1 if shared else TASKS
    names = ["weight", "bias"] if scale else ["bias"]
    p = {n: random(tasks, channels, seed=s) for s, n in enumerate(names, start=2)}
    u = {n: random(TASKS, channels, seed=s) for s, n in enumerate(names, start=4)}
    options = {"scale": scale, "adapted": adapted, "pooled": pooled}
    layer = NormReLU(side, EPS, **options)
    expected, _ = passes(layer, x.clone(), p, u, dx)
    found, kept = passes(layer, x.float(), singles(p), singles(u), dx.float())
    assert isinstance(kept, Kept)
    close(found, expected)


SHAPES = {
    "strided": (ConvShape(28, 1, 3, 2, 1), False, 64),
    "pooled": (ConvShape(12, 3, 3, 1, 1), True, 32),
    "odd": (ConvShape(13, 2, 3, 1, 1), True, 16),
    "not padded": (ConvShape(9, 3, 3, 2, 0), False, 48),
}


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_first_block(name: str, scale: bool, adapted: bool) -> None:
    shape, pooled, filters = SHAPES[name]
    images = random(TASKS, 7, shape.channels, shape.size, shape.size, seed=0).abs()
    sizes = {"weight": (filters, shape.kernel**2 * shape.channels), "bias": (filters,)}
    sizes |= {"scale": (filters,)} if scale else {}
    sizes |= {"shift": (filters,)}
    p = {n: random(TASKS, *size, seed=s) for s, (n, size) in enumerate(sizes.items())}
    u = {n: random(TASKS, *size, seed=s + 9) for s, (n, size) in enumerate(sizes.items())}
    options = {"scale": scale, "adapted": adapted, "pooled": pooled}
    layer = FirstBlock(shape, filters, EPS, **options)
    plain, compiled = layer.patches(images), layer.patches(images.float())
    assert isinstance(plain, Patches)
    assert isinstance(compiled, Images)
    expected, _ = passes(layer, plain, p, u, None)
    found, _ = passes(layer, compiled, singles(p), singles(u), None)
    close(found, expected)


def test_products_are_as_exact_as_single_precision_allows() -> None:
    """Terms of one sign, where one chain of them is 2 to 14 times less exact than short ones."""
    shape, images, filters = ConvShape(14, 64, 3, 2, 1), 300, 64
    x, gy, w = (
        random(*size, seed=s).abs()
        for s, size in enumerate(
            [(images * 14**2, 1, 64), (images * 7**2, 1, filters), (1, filters, 9 * 64)]
        )
    )
    pairs = {"convolve": (x, w), "input_gradient": (gy, w), "weight_gradient": (gy, x)}
    for name, pair in pairs.items():
        single, exact = (
            bilinear(name, way, [t.to(kind) for t in pair], shape, like=w.to(kind))
            for way, kind in (("gathered", torch.float32), ("product", torch.float64))
        )
        assert (single - exact).norm() / exact.norm() < 1.8e-7, name


def bilinear(name: str, way: str, pair: Sequence[Tensor], s: ConvShape, like: Tensor) -> Tensor:
    """One of the three functions; `like`: the weights' gradient has its shape."""
    function = getattr(convolution, f"{name}_{way}")
    if name != "weight_gradient":
        return function([pair], s)
    function([pair], s, found := torch.empty_like(like))
    return found


@pytest.mark.parametrize(("rows", "columns"), [(64, 576), (16, 48)])
def test_transposed(rows: int, columns: int) -> None:
    w = random(TASKS, rows, columns, seed=0).float()
    assert torch.equal(kernels.transposed(w), w.mT)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_rectified_away(poison: float) -> None:
    """Training that has diverged is noticed by its loss."""
    layer = NormReLU(4, EPS, scale=True, adapted=False, pooled=False)
    x = random(32, TASKS, 16, seed=0).float()
    x[5, 1, 3] = poison
    p = {"weight": torch.ones(1, 16), "bias": torch.zeros(1, 16)}
    y, _ = layer.forward(p, x)
    assert y[:, 1, 3].isnan().all()
    assert y[:, 0].isfinite().all()
