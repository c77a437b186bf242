"""Networks: sizes, taps, initial values, and torchvision's outputs."""

import math
from typing import Any

import pytest
import torch
import torchvision

from multistep.networks.build import build
from multistep.networks.settings import Architecture
from multistep.transfer.matching import Matching

COUNTS = [
    ("resnet32", 16, 200, 479_272),
    ("vgg9", 64, 100, 9_277_284),
    ("vgg9", 64, 10, 9_231_114),
    ("resnet34", 64, 1000, 21_797_672),
    ("resnet18", 64, 200, 11_279_112),
    ("resnet18", 64, 67, 11_210_883),
    ("resnet18", 64, 40, 11_197_032),
    ("resnet18", 64, 120, 11_238_072),
]


def network(
    name: Any, width: int, classes: int = 5, blocks: int | None = None, seed: int = 1
) -> Any:
    architecture = Architecture(name=name, width=width, blocks=blocks)
    return build(architecture, classes, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "width", "classes", "expected"), COUNTS)
def test_parameter_counts(name: str, width: int, classes: int, expected: int) -> None:
    built = network(name, width, classes)
    assert list(built.tap_channels) == Architecture(name=name, width=width).taps
    parameters = built.parameters()
    assert sum(p.numel() for p in parameters) == expected


def test_running_statistics_of_the_source() -> None:
    buffers = network("resnet32", 16).named_buffers()
    assert sum(b.numel() for n, b in buffers if "running" in n) == 2_464


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_resnets_are_torchvisions(name: str) -> None:
    ours = network(name, 64, 1000)
    theirs = getattr(torchvision.models, name)()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for mode in (False, True):
            _, found = ours.train(mode)(x)
            torch.testing.assert_close(found, theirs.train(mode)(x), rtol=1e-6, atol=1e-6)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b)


TAPS = [
    ("resnet32", 4, 32, 5, {4: (4, 32), 9: (8, 16), 14: (16, 8)}),
    ("resnet32", 4, 32, 1, {0: (4, 32), 1: (8, 16), 2: (16, 8)}),
    ("vgg9", 2, 32, None, {0: (2, 32), 1: (4, 16), 2: (8, 8), 3: (16, 4), 4: (16, 2)}),
    ("vgg9", 2, 32, 1, {0: (2, 32), 1: (4, 16), 2: (8, 8), 3: (16, 4), 4: (16, 2)}),
    ("resnet18", 2, 64, None, {1: (2, 16), 2: (4, 8), 3: (8, 4), 4: (16, 2)}),
    ("resnet34", 2, 64, 1, {1: (2, 16), 2: (4, 8), 3: (8, 4), 4: (16, 2)}),
    ("resnet18", 2, 33, 1, {1: (2, 9), 2: (4, 5), 3: (8, 3), 4: (16, 2)}),
    ("resnet32", 4, 5, 1, {0: (4, 5), 1: (8, 3), 2: (16, 2)}),
    ("vgg9", 2, 47, 1, {0: (2, 47), 1: (4, 23), 2: (8, 11), 3: (16, 5), 4: (16, 2)}),
]


@pytest.mark.parametrize(("name", "width", "size", "blocks", "expected"), TAPS)
def test_taps_and_no_idle_parameter(
    name: str, width: int, size: int, blocks: int | None, expected: dict[int, tuple[int, int]]
) -> None:
    net = network(name, width, blocks=blocks)
    taps, logits = net(torch.randn(3, 3, size, size))
    assert {tap: (t.shape[1], t.shape[2]) for tap, t in taps.items()} == expected
    assert net.tap_channels == {tap: channels for tap, (channels, _) in expected.items()}
    assert logits.shape == (3, 5)
    last = Architecture(name=name, width=width).last_side(size)  # type: ignore[arg-type]
    assert last == list(taps.values())[-1].shape[2]
    assert all(t.min() >= 0 for t in taps.values())  # after the ReLU
    logits.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_initial_values_are_seeded_and_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    a, b, c = (network("vgg9", 8, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.fc.weight, c.fc.weight)


@pytest.mark.parametrize("name", ["vgg9", "resnet18"])
def test_initial_values(name: str) -> None:
    for key, p in network(name, 64, 100).named_parameters():
        if p.dim() == 4:
            fan_out = p.shape[0] * p.shape[2] * p.shape[3]
            assert p.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
        elif key == "fc.weight" and name == "vgg9":
            assert p.std().item() == pytest.approx(0.01, rel=0.02)
        elif key == "fc.weight":
            assert p.abs().max().item() == pytest.approx(1 / math.sqrt(512), rel=0.01)
        elif "bn" in key or "downsample.1" in key:
            assert torch.equal(p, torch.full_like(p, float(key.endswith("weight"))))
        elif name == "vgg9":
            assert not p.any()  # biases


def test_matching_sizes() -> None:
    """Matching networks, weight networks and loss-weight networks of section 5.1."""
    small = Matching({4: 16, 9: 32, 14: 64}, {0: 64, 1: 128, 2: 256, 3: 512, 4: 512})
    same = {1: 64, 2: 128, 3: 256, 4: 512}
    for matching, match, what, where in (
        (small, 165_424, 27_440, 575),
        (Matching(same, same), 925_440, 1_396_480, 3_856),
    ):
        generator = torch.Generator().manual_seed(0)
        theta = matching.initial_theta(1.0, generator)
        count = {k: sum(p.numel() for n, p in theta.items() if k in n) for k in ("what", "where")}
        assert count == {"what": what, "where": where}
        assert sum(p.numel() for p in matching.initial_phi(generator).values()) == match
