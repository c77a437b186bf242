"""The task-batched network against autograd on the plain module, layer rules included."""

from functools import partial
from typing import Any

import pytest
import torch
from fewshot_case import relative
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from multistep.fewshot import convolution, layers
from multistep.fewshot.batched import BatchedConv4, EpisodeLoss, GroupedLoss
from multistep.fewshot.convolution import col2im, im2col
from multistep.fewshot.first_block import FirstBlock
from multistep.inner.dynamics import SGD, Tensors
from multistep.inner.unroll import unroll, unroll_vjp
from multistep.networks.conv4 import Conv4, Conv4Config, ConvShape, initial_parameters

TASKS = 3
RELU_FIRST = {"order": "conv-relu-bn"}
POOLED = {"geometry": "pooled", "channels": 3, "size": 32}
ODD = POOLED | {"channels": 1, "size": 37}  # 37→18→9→4→2: odd sides lose a row and a column
NETWORKS: dict[str, tuple[dict[str, Any], bool]] = {
    "default": ({}, False),
    "adapted": ({}, True),
    "finn": ({"bn_scale": False, "bn_eps": 1e-3}, False),
    "valid": ({"geometry": "valid"} | RELU_FIRST, True),
    "valid, shared": ({"geometry": "valid"} | RELU_FIRST, False),
    "pooled": (ODD | {"channels": 3}, False),
    "pooled, adapted": (ODD, True),
    "pooled, finn": (POOLED | {"bn_scale": False}, True),
    "pooled, relu first": (POOLED | RELU_FIRST, False),
    "pooled, relu first, adapted": (ODD | RELU_FIRST, True),
}


def setting(
    name: str, dtype: torch.dtype, filters: int = 8
) -> tuple[BatchedConv4, Tensors, tuple[Tensor, ...]]:
    """A small network away from its special initial values, and three 5-way episodes."""
    options, adapt_bn = NETWORKS[name]
    config = Conv4Config(ways=5, filters=filters, head_std=0.3, **options)
    generator = torch.Generator().manual_seed(1)
    noise = partial(torch.randn, generator=generator, dtype=torch.float64)
    initial = initial_parameters(config, 0).items()
    floats = {n: (p.double() + 0.1 * noise(*p.shape)).to(dtype) for n, p in initial}
    image = (config.channels, config.size, config.size)
    episodes = (
        noise(TASKS, 5, *image).abs(),
        torch.stack([torch.randperm(5, generator=generator) for _ in range(TASKS)]),
        noise(TASKS, 10, *image).abs(),
        torch.randint(0, 5, (TASKS, 10), generator=generator),
    )
    data = tuple(t.to(dtype) if t.is_floating_point() else t for t in episodes)
    return BatchedConv4(config, adapt_bn=adapt_bn), floats, data


def reference(
    network: BatchedConv4, params: Tensors, data: tuple[Tensor, ...], dynamics: SGD, window: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Query loss summed over tasks and its meta-gradient: a loop over tasks, plain autograd."""
    module = Conv4(network.config)
    leaves = {n: p.clone().requires_grad_() for n, p in params.items()}
    adapted = {n: p for n, p in leaves.items() if network.slots[n].adapted}
    total = torch.zeros((), dtype=data[0].dtype)
    for xs, ys, xq, yq in zip(*data, strict=True):

        def support(p: Tensors, xs: Tensor = xs, ys: Tensor = ys) -> Tensor:
            return F.cross_entropy(functional_call(module, {**leaves, **p}, (xs,)), ys)

        phi, _ = unroll(support, adapted, dynamics, steps=4, window=window)
        total = total + F.cross_entropy(functional_call(module, {**leaves, **phi}, (xq,)), yq)
    grads = torch.autograd.grad(total, list(leaves.values()))
    return total.detach(), *network.pack(dict(zip(leaves, grads, strict=True)))


def batched(
    network: BatchedConv4, params: Tensors, data: tuple[Tensor, ...], dynamics: SGD, window: int,
    **options: Any,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    theta, shared = network.pack(params)
    inner, outer = EpisodeLoss(network, shared, *data[:2]), EpisodeLoss(network, shared, *data[2:])
    phi = network.expand(theta, TASKS)
    phi, pullback = unroll_vjp(inner, phi, dynamics, steps=4, window=window, **options)
    query = outer.evaluate(phi)
    by_theta, mixed = pullback(query.by_phi)
    by_shared = network.sum_tasks(query.by_shared + mixed, adapted=False)
    return outer.value(query.logits).sum(), network.sum_tasks(by_theta), by_shared


def as_double(t: Tensor) -> Tensor:
    return t.double() if t.is_floating_point() else t


def error(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    return max(relative(f, e) for f, e in zip(found[1:], expected[1:], strict=True))


@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_meta_gradient_equals_autograd(name: str, window: int) -> None:
    network, params, data = setting(name, torch.float64)
    dynamics = SGD(0.1, 0.9, 1e-2)
    expected = reference(network, params, data, dynamics, window)
    for recompute in (False, True):
        found = batched(network, params, data, dynamics, window, recompute=recompute)
        assert found[0].item() == pytest.approx(expected[0].item(), rel=1e-11)
        # Batch norm after ReLU divides by the spread of mostly equal numbers: rounding grows.
        limit = 1e-9 if network.config.order == "conv-relu-bn" else 1e-12
        assert error(found, expected) < limit


@pytest.mark.parametrize("way", ["grouped", "product"])
@pytest.mark.parametrize("name", NETWORKS)
def test_both_ways_to_convolve_fit_the_whole_network(
    name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grouped convolutions alone, and products alone, as CUDA has it."""
    network, params, data = setting(name, torch.float64)
    dynamics = SGD(0.1, 0.9, 1e-2)
    expected = batched(network, params, data, dynamics, 2)
    for function in ("convolve", "input_gradient", "weight_gradient"):
        monkeypatch.setattr(layers, function, getattr(convolution, f"{function}_{way}"))
    found = batched(network, params, data, dynamics, 2)
    assert error(found, expected) < 1e-9


# Without and with compiled products.
@pytest.mark.parametrize(
    ("name", "filters"),
    [("default", 8), ("default", 48), ("adapted", 16), ("finn", 16), ("pooled, adapted", 16)],
)
def test_float32_agrees_too(name: str, filters: int) -> None:
    """With float64 on the same numbers: on some processors torch's own float32 is 3e-4 off, where
    rounding moves a number over ReLU's kink.
    """
    network, params, data = setting(name, torch.float32, filters)
    dynamics = SGD(0.1, 0.9, 1e-4)
    exact = {n: p.double() for n, p in params.items()}, tuple(map(as_double, data))
    found = batched(network, params, data, dynamics, 1)
    expected = reference(network, *exact, dynamics, 1)
    assert error(tuple(map(as_double, found)), expected) < 1e-5


# The 300 queries of a 20-way episode, and 75 images of miniImageNet's size.
@pytest.mark.parametrize("filters", [8, 48])
@pytest.mark.parametrize(("name", "images", "size"), [("default", 300, 28), ("pooled", 75, 84)])
def test_rounding_does_not_grow_with_the_images(
    name: str, images: int, size: int, filters: int
) -> None:
    """Of the first block's maps; one long sum is 300 times less exact for 300."""
    config = Conv4Config(ways=5, filters=filters, **NETWORKS[name][0] | {"size": size})
    network = BatchedConv4(config)
    generator = torch.Generator().manual_seed(0)
    blots = (torch.rand(images, config.channels, 7, 7, generator=generator) > 0.7).float()
    strokes = F.interpolate(blots, size, mode="bilinear").unsqueeze(0)
    theta, shared = network.pack(initial_parameters(config, 0))
    layer = network.layers[0][1]
    assert isinstance(layer, FirstBlock)
    single, exact = (
        layer.forward(
            network.views(theta.to(kind), shared.to(kind), 1)["block1"],
            layer.patches(strokes.to(kind)),
        )[0]
        for kind in (torch.float32, torch.float64)
    )
    assert relative(single, exact) < 1e-6


@pytest.mark.parametrize("together", [1, 2, 3])
@pytest.mark.parametrize("name", ["default", "adapted", "valid"])
def test_few_tasks_at_a_time_are_the_same_as_all_at_once(name: str, together: int) -> None:
    network, params, data = setting(name, torch.float64)
    theta, shared = network.pack(params)
    phi = network.expand(theta, TASKS)
    generator = torch.Generator().manual_seed(2)
    phi = phi + 0.1 * torch.randn(phi.shape, generator=generator, dtype=phi.dtype)
    whole = EpisodeLoss(network, shared, *data[2:])
    grouped = GroupedLoss(network, shared, *data[2:], together)
    expected, found = whole.evaluate(phi), grouped.evaluate(phi)
    for part in ("logits", "by_phi", "by_shared"):
        a, b = getattr(found, part), getattr(expected, part)
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(grouped.logits(phi), expected.logits, rtol=1e-10, atol=1e-12)
    assert found.nbytes * TASKS == expected.nbytes * together or together == 2
    parts = network.split(phi, TASKS, together)
    assert [p.numel() for p in parts] == [
        network.adapted_size * n for n in ([1, 1, 1], [2, 1], [3])[together - 1]
    ]
    assert torch.equal(network.join(parts), phi)


def test_tasks_do_not_mix() -> None:
    """The order of the tasks changes nothing: no state leaks from one to the next."""
    network, params, data = setting("default", torch.float64)
    dynamics = SGD(0.4, 0.9, 1e-4)
    forward = batched(network, params, data, dynamics, 2)
    turned = batched(network, params, tuple(t.flip(0) for t in data), dynamics, 2)
    for f, t in zip(forward, turned, strict=True):
        torch.testing.assert_close(f, t, rtol=1e-12, atol=1e-14)


def test_recomputed_windows_keep_the_same_bytes_for_any_number_of_steps() -> None:
    network, params, data = setting("default", torch.float32)
    theta, shared = network.pack(params)
    inner = EpisodeLoss(network, shared, *data[:2])
    phi = network.expand(theta, TASKS)

    def kept(steps: int, window: int, *, recompute: bool) -> int:
        dynamics = SGD(0.01, 0.9)
        _, p = unroll_vjp(inner, phi, dynamics, steps=steps, window=window, recompute=recompute)
        return p.nbytes

    tape = kept(1, 1, recompute=False)
    assert kept(8, 1, recompute=False) == 8 * tape
    assert kept(8, 4, recompute=False) == 2 * tape
    # Window starts are parameters, not activations: a tenth of a tape here, less in real networks.
    assert kept(8, 1, recompute=True) == 8 * phi.numel() * 4
    assert phi.numel() * 4 < tape / 10


def test_pack_and_unpack_are_inverse() -> None:
    for name in NETWORKS:
        network, params, _ = setting(name, torch.float64)
        again = network.unpack(*network.pack(params))
        assert again.keys() == params.keys()
        assert all(torch.equal(p, again[n]) for n, p in params.items())


@pytest.mark.parametrize(
    ("filters", "channels"), [(4, 3), *((f, c) for f in (32, 48, 64) for c in (16, 64))]
)
@pytest.mark.parametrize(
    ("images", "size", "kernel", "stride", "padding"),
    [
        (2, 28, 3, 2, 1), (2, 7, 3, 2, 1), (2, 9, 3, 1, 1), (1, 2, 2, 1, 0), (7, 14, 3, 2, 1),
        (7, 13, 3, 2, 0), (3, 17, 3, 1, 1),
    ],
)  # fmt: skip
def test_ways_to_convolve(
    images: int, size: int, kernel: int, stride: int, padding: int, filters: int, channels: int
) -> None:
    """Grouped convolutions, im2col with batched products (CUDA's) and, in float32 where vectors fit
    the channels, the compiled loops are one function: also of several groups of images, the last
    of them smaller.
    """
    shape = ConvShape(size, channels, kernel, stride, padding)
    generator = torch.Generator().manual_seed(0)
    random = partial(torch.randn, generator=generator, dtype=torch.float64)
    xs = [random(images * size**2, TASKS, channels) for _ in range(2)]
    weights = [random(TASKS, filters, kernel**2 * channels) / 10 for _ in range(2)]
    gys = [random(images * shape.output**2, TASKS, filters) for _ in range(2)]

    def results(way: str, count: int, dtype: torch.dtype) -> list[Tensor]:
        convolve, by_input, by_weight = (
            getattr(convolution, name + way)
            for name in ("convolve", "input_gradient", "weight_gradient")
        )
        x, w, gy = ([t.to(dtype) for t in ts[:count]] for ts in (xs, weights, gys))
        out = torch.full_like(w[0], 9.0)
        by_weight(list(zip(gy, x, strict=True)), shape, out)
        pairs = list(zip(x, w, strict=True)), list(zip(gy, w, strict=True))
        return [convolve(pairs[0], shape), by_input(pairs[1], shape), out]

    for count in (1, 2):  # of pairs whose results are added up
        expected = results("_product", count, torch.float64)
        torch.testing.assert_close(results("_grouped", count, torch.float64), expected)
        single = results("", count, torch.float32)
        torch.testing.assert_close(single, expected, rtol=1e-4, atol=1e-3, check_dtype=False)
    patches = random(TASKS, images * shape.output**2, kernel**2 * channels)
    one, other = (im2col(xs[0], shape) * patches).sum(), (xs[0] * col2im(patches, shape)).sum()
    assert one.item() == pytest.approx(other.item())


def episode_losses(config: Conv4Config, *sizes: int) -> tuple[list[EpisodeLoss], Tensor]:
    """Losses of one task on random sets of `sizes` images a class, and φ."""
    network = BatchedConv4(config)
    theta, shared = network.pack(initial_parameters(config, 0))
    generator = torch.Generator().manual_seed(0)
    losses = []
    for images in (config.ways * size for size in sizes):
        shape = (1, images, config.channels, config.size, config.size)
        labels = torch.arange(images).remainder(config.ways).unsqueeze(0)
        x = torch.rand(shape, generator=generator)
        losses.append(EpisodeLoss(network, shared, x, labels))
    return losses, network.expand(theta, 1)


# Spec 7.1, one task of the default network, T = 8, 15 queries per class:
# ways, shots → GFLOP of query and of one inner gradient with its product; megabytes of both, and
# those that autograd saves for the plain network: of the first block the engine keeps y alone.
COSTS = {
    (5, 1): (1.179, 0.250, 6.88, 1.063, 10.4, 1.723),
    (5, 5): (1.179, 1.249, 6.88, 3.485, 10.45, 6.906),
    (20, 1): (4.716, 1.000, 26.2, 2.886, 40.3, 5.617),
    (20, 5): (4.716, 4.998, 26.2, 12.59, 40.5, 26.36),
}


@pytest.mark.parametrize(("ways", "shots"), COSTS)
def test_saved_bytes_and_flops_follow_the_model(ways: int, shots: int) -> None:
    """q + (8/n)·s, within a tenth, for every window n; of torch's operations alone, since no loops
    run where these are counted.
    """
    gflop_query, gflop_step, mb_query, mb_step, *autograd = COSTS[ways, shots]
    assert mb_query < 0.67 * autograd[0]
    assert mb_step < 0.62 * autograd[1]
    (inner, outer), phi = episode_losses(Conv4Config(ways=ways), shots, 15)
    for window in (1, 2, 4, 8):
        with FlopCounterMode(display=False) as counter:
            final, pullback = unroll_vjp(inner, phi, SGD(0.01, 0.9), steps=8, window=window)
            kept = pullback.nbytes
            query = outer.evaluate(final)
            pullback(query.by_phi)
        gflop, mb = gflop_query + 8 / window * gflop_step, mb_query + 8 / window * mb_step
        assert counter.get_total_flops() / 1e9 == pytest.approx(gflop, rel=0.1)
        assert (kept + query.nbytes) / 1e6 == pytest.approx(mb, rel=0.02)


# The same of pooled networks: image side, filters, shots, queries per class.
POOLED_COSTS = {
    (84, 32, 1, 15): (11.39, 2.217, 242, 27.25),
    (32, 64, 5, 5): (2.035, 6.017, 23.9, 39.87),
}


@pytest.mark.parametrize(("size", "filters", "shots", "queries"), POOLED_COSTS)
def test_costs_of_pooled_networks(size: int, filters: int, shots: int, queries: int) -> None:
    """The flops of the model, and about a third of the bytes that autograd saves: of the first
    block the engine keeps the pooled map and its places, and rectified maps are a quarter as large,
    as pooling comes first.
    """
    gflop_query, gflop_step, mb_query, mb_step = POOLED_COSTS[size, filters, shots, queries]
    config = Conv4Config(ways=5, geometry="pooled", channels=3, size=size, filters=filters)
    (inner, outer), phi = episode_losses(config, shots, queries)
    with FlopCounterMode(display=False) as counter:
        query = outer.evaluate(phi)
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflop_query, rel=0.1)
    with FlopCounterMode(display=False) as counter:
        _, tape = inner.gradient(phi, keep=True)
        assert tape is not None
        inner.hessian_product(tape, phi)
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflop_step, rel=0.1)
    assert query.nbytes / 1e6 == pytest.approx(0.37 * mb_query, rel=0.05)
    assert tape.nbytes / 1e6 == pytest.approx(0.31 * mb_step, rel=0.05)
