"""The layers before the head on their own, heads inside φ, and algebra per task."""

from typing import Any

import pytest
import torch
from fewshot_case import per_task, random
from torch import Tensor

from multistep.fewshot.batched import BatchedConv4, EpisodeLoss
from multistep.networks.conv4 import Conv4Config, initial_parameters

TASKS, IMAGES, WAYS = 2, 6, 5
POOLED = {"geometry": "pooled", "channels": 3}
NETWORKS: dict[str, tuple[dict[str, Any], bool]] = {
    "strided": ({}, False),
    "valid": ({"geometry": "valid", "order": "conv-relu-bn"}, True),
    "pooled": (POOLED | {"size": 37}, True),
    "pooled, relu first": (POOLED | {"size": 32, "order": "conv-relu-bn"}, False),
}


def setting(name: str) -> tuple[BatchedConv4, Tensor, Tensor, EpisodeLoss]:
    """A network, parameters that differ from task to task, and images."""
    options, adapt_bn = NETWORKS[name]
    config = Conv4Config(ways=WAYS, filters=6, **options)
    network = BatchedConv4(config, adapt_bn=adapt_bn)
    params = {n: p.double() for n, p in initial_parameters(config, 0).items()}
    theta, shared = network.pack(params)
    phi = network.expand(theta, TASKS)
    phi = phi + 0.1 * random(*phi.shape, seed=1)
    images = random(TASKS, IMAGES, config.channels, config.size, config.size, seed=2)
    labels = torch.arange(IMAGES).remainder(WAYS).expand(TASKS, IMAGES)
    return network, phi, shared, EpisodeLoss(network, shared, images, labels)


@pytest.mark.parametrize("name", NETWORKS)
def test_body_and_head_make_up_the_network(name: str) -> None:
    """One gradient of the whole equals the head's by hand and the body's from its features."""
    network, phi, _, loss = setting(name)
    features, saved = loss.body(phi)
    weight, bias = network.head(phi, TASKS)
    assert weight.shape == (TASKS, WAYS, features.shape[2])
    logits = torch.baddbmm(bias.unsqueeze(1), features, weight.transpose(1, 2))
    torch.testing.assert_close(logits, loss.logits(phi), rtol=1e-12, atol=1e-12)
    by_logits = (logits.softmax(2) - loss.targets) / IMAGES
    whole = loss.evaluate(phi)
    by_phi, by_shared = loss.body_backward(phi, saved, by_logits @ weight)
    by_weight, by_bias = network.head(by_phi, TASKS)
    assert not by_weight.any()
    assert not by_bias.any()
    by_weight.copy_(by_logits.transpose(1, 2) @ features)  # views: this writes into the vector
    by_bias.copy_(by_logits.sum(1))
    scale = whole.by_phi.abs().max().item()
    torch.testing.assert_close(by_phi, whole.by_phi, rtol=1e-9, atol=1e-11 * scale)
    torch.testing.assert_close(by_shared, whole.by_shared, rtol=1e-9, atol=1e-11 * scale)
    # A gradient of the whole holds this, φ and the features.
    held = loss.bytes_of(saved) + phi.nbytes + features.nbytes
    assert whole.nbytes == held


def test_dot_and_scale_per_task() -> None:
    network, phi, _, _ = setting("strided")
    other = random(*phi.shape, seed=4)
    factors = torch.tensor([2.0, -3.0], dtype=torch.float64)
    pairs = zip(per_task(network, phi, TASKS), per_task(network, other, TASKS), strict=True)
    expected = torch.stack([a @ b for a, b in pairs])
    torch.testing.assert_close(network.task_dot(phi, other), expected)
    scaled = per_task(network, network.task_scale(phi, factors), TASKS)
    for task, own in enumerate(per_task(network, phi, TASKS)):
        torch.testing.assert_close(scaled[task], own * factors[task], rtol=0, atol=0)
