"""Feature matching against a pair-by-pair reference; where it starts; how maps are resized."""

import math
from functools import partial

import pytest
import torch
import transfer_reference as reference

from multistep.transfer.matching import Matching, resize

F64 = torch.float64


def test_loss_and_gradients_pair_by_pair() -> None:
    """Up- and down-sampling, dead and saturated pairs; float64."""
    generator = torch.Generator().manual_seed(2)
    random = partial(torch.randn, generator=generator, dtype=F64)
    source_maps = {5: random(3, 4, 8, 8).abs(), 2: random(3, 6, 4, 4).abs()}
    target_maps = {1: random(3, 5, 4, 4), 0: random(3, 3, 8, 8), 7: random(3, 2, 2, 2)}
    matching = Matching({5: 4, 2: 6}, {1: 5, 0: 3, 7: 2})
    phi = {n: random(*p.shape).requires_grad_() for n, p in matching.initial_phi(generator).items()}
    theta = matching.initial_theta(1.0, generator)
    theta = {n: random(*p.shape).requires_grad_() for n, p in theta.items()}
    theta["where.5.bias"].data += torch.tensor([20.0, -20.0, 2.0], dtype=F64)  # 6, 0, between
    maps = {
        n: torch.cat([resize(source_maps[m], target_maps[n].shape[2:]) for m in (5, 2)], 1)
        for n in target_maps
    }
    weights = matching.pair_weights(theta, {m: s.mean((2, 3)) for m, s in source_maps.items()})
    assert weights.where[:, 0].tolist() == [6.0] * 3
    assert weights.where[:, 1].tolist() == [0.0] * 3
    targets = {n: t.requires_grad_() for n, t in target_maps.items()}
    ours = matching.loss(phi, targets, maps, weights.weights)
    naive = reference.transfer_loss(source_maps, targets, phi, theta)
    assert ours.item() == pytest.approx(naive.item(), rel=1e-13)
    inputs = [*phi.values(), *theta.values(), *targets.values()]
    pairs = (torch.autograd.grad(loss, inputs) for loss in (ours, naive))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_the_start_is_uniform_and_lambda_is_centred_on_its_bias() -> None:
    generator = torch.Generator().manual_seed(0)
    matching = Matching({4: 16, 9: 32, 14: 64}, {0: 64, 1: 128, 2: 256, 3: 512, 4: 512})
    theta = matching.initial_theta(1.0, generator)
    pooled = {m: 0.3 * torch.rand(8, c, generator=generator) for m, c in matching.source.items()}
    found = matching.pair_weights(theta, pooled)
    assert found.where.shape == (8, 15)
    # λ·w is λ/C_m exactly, whatever the sample.
    begin = 0
    for index, channels in enumerate(matching.source.values()):
        for position, n in enumerate(matching.target):
            w = found.weights[n][:, begin : begin + channels]
            pair = found.where[:, index * len(matching.target) + position]
            assert torch.equal(w, (pair * (1 / channels)).unsqueeze(1).expand_as(w))
        begin += channels
    # Spread over pairs: rms(h)/√3 for weights uniform in ±1/√C_m.
    rms = torch.cat([p.square().mean(1, keepdim=True) for p in pooled.values()], 1).mean().sqrt()
    deviations = found.where_input - 1
    assert abs(deviations.mean()) < 0.1
    assert deviations.square().mean().sqrt() == pytest.approx(rms / math.sqrt(3), rel=0.5)


def test_matching_starts_uniform_by_the_target_channels() -> None:
    phi = Matching({0: 300}, {3: 400}).initial_phi(torch.Generator().manual_seed(0))
    for p in phi.values():
        assert 0.04 < p.abs().max() <= 1 / math.sqrt(400)


@pytest.mark.parametrize(("factor", "rows"), [(2, [0, 1]), (4, [1, 2]), (8, [3, 4]), (16, [7, 8])])
def test_down_sampling_is_the_mean_of_the_central_pixels(factor: int, rows: list[int]) -> None:
    """Half-pixel centres without antialiasing."""
    maps = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=F64)
    side = 32 // factor
    blocks = maps.reshape(2, 3, side, factor, side, factor)
    expected = blocks[:, :, :, rows][..., rows].mean((3, 5))
    found = resize(maps, torch.Size([side, side]))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    assert resize(maps, maps.shape[2:]) is maps
