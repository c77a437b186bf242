"""The four-block network: its parameters, the sides of its maps, its initial values."""

from typing import Any

import pytest
import torch

from multistep.fewshot.batched import BatchedConv4
from multistep.files import UserError
from multistep.networks.conv4 import Conv4, Conv4Config, initial_parameters

# Networks → parameters of the body, of the head, and sides of the maps.
STRIDED, VALID = [28, 14, 7, 4, 2], [28, 13, 6, 2, 1]
POOLED = {"geometry": "pooled", "channels": 3, "size": 32}
MINI = POOLED | {"size": 84, "filters": 32}
COUNTS: list[tuple[dict[str, Any], int, int, list[int]]] = [
    ({"ways": 5}, 111_936, 325, STRIDED),
    ({"ways": 20}, 111_936, 1_300, STRIDED),
    ({"ways": 5, "bn_scale": False}, 111_680, 325, STRIDED),
    ({"ways": 20, "bn_scale": False}, 111_680, 1_300, STRIDED),
    ({"ways": 5, "geometry": "valid"}, 91_456, 325, VALID),
    ({"ways": 20, "geometry": "valid"}, 91_456, 1_300, VALID),
    ({"ways": 5} | MINI, 28_896, 4_005, [84, 42, 21, 10, 5]),
    ({"ways": 5, "bn_scale": False} | MINI, 28_768, 4_005, [84, 42, 21, 10, 5]),
    ({"ways": 5} | POOLED, 113_088, 1_285, [32, 16, 8, 4, 2]),
]


@pytest.mark.parametrize(("options", "body", "head", "sides"), COUNTS)
def test_parameter_counts(options: Any, body: int, head: int, sides: list[int]) -> None:
    config = Conv4Config(**options)
    counts = {n: p.numel() for n, p in Conv4(config).named_parameters()}
    assert sum(c for n, c in counts.items() if n.startswith("head")) == head
    assert sum(counts.values()) == body + head
    last = config.last_side if config.geometry == "pooled" else config.convolutions[-1].output
    assert [c.size for c in config.convolutions] + [last] == sides
    network = BatchedConv4(config)
    assert network.adapted_size + network.shared_size == body + head


@pytest.mark.parametrize(("geometry", "least"), [("strided", 1), ("valid", 23), ("pooled", 16)])
def test_images_too_small_for_four_blocks_are_refused(geometry: Any, least: int) -> None:
    assert Conv4Config(ways=5, geometry=geometry, size=least).last_side == 1
    for size in range(least):
        with pytest.raises(UserError, match=f"{size}×{size} pixels are too small"):
            Conv4Config(ways=5, geometry=geometry, size=size)


def test_initial_values() -> None:
    params = initial_parameters(Conv4Config(ways=5), 0)
    bound = (6 / (64 * 9 + 64 * 9)) ** 0.5
    assert params["conv2.weight"].abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert params["head.weight"].std().item() == pytest.approx(0.177, rel=0.15)
    assert all(params[f"norm{i}.weight"].eq(1).all() for i in range(1, 5))
    zeros = [n for n, p in params.items() if n.endswith("bias") and p.any()]
    assert zeros == []
    kaiming = initial_parameters(Conv4Config(ways=5, conv_init="kaiming"), 0)
    assert kaiming["conv3.weight"].std().item() == pytest.approx((2 / 576) ** 0.5, rel=0.02)
    again = initial_parameters(Conv4Config(ways=5), 0)
    other = initial_parameters(Conv4Config(ways=5), 1)
    assert torch.equal(again["conv1.weight"], params["conv1.weight"])
    assert not torch.equal(other["conv1.weight"], params["conv1.weight"])
