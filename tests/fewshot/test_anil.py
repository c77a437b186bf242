"""ANIL against MAML whose inner loop moves nothing but the head, written with autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fewshot_episodes import (
    adapt,
    directions,
    episodes,
    meta_gradient,
    relative,
    slope,
    valueless,
)
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional as F

from multistep.fewshot import meta
from multistep.fewshot.batched import BatchedConv4, EpisodeLoss
from multistep.fewshot.episodes import Batch
from multistep.fewshot.settings import FewShot
from multistep.inner.dynamics import SGD, Tensors
from multistep.inner.unroll import unroll
from multistep.networks.conv4 import Conv4

CACHED = {"options": {"cache_features": True}}
PLAIN = {"momentum": 0.0, "weight_decay": 0.0}


def reference(
    s: FewShot, network: BatchedConv4, theta: meta.Theta, batch: Batch
) -> tuple[Tensor, Tensor, Tensor]:
    """MAML on the plain module with the body's inner rate zero: by θ, and the tasks' losses."""
    module = Conv4(network.config)
    leaves = {n: p.requires_grad_() for n, p in network.unpack(*vars(theta).values()).items()}
    head = {n: p for n, p in leaves.items() if n.startswith("head")}

    def task(xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor) -> Tensor:
        def support(p: Tensors) -> Tensor:
            return F.cross_entropy(functional_call(module, {**leaves, **p}, (xs,)), ys)

        y, _ = unroll(
            support,
            head,
            SGD(s.inner_lr, s.momentum, s.weight_decay),
            steps=s.inner_steps,
            window=s.window,
        )
        return F.cross_entropy(functional_call(module, {**leaves, **y}, (xq,)), yq)

    losses = vmap(task)(*vars(batch).values())
    grads = torch.autograd.grad(losses.mean(), list(leaves.values()))
    return *network.pack(dict(zip(leaves, grads, strict=True))), losses.detach()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        PLAIN,
        {"window": 2},
        {"options": {"cache_features": False}},
        {"options": {"cache_features": False}, "scheme": "replay", "window": 2},
        {"network": {"geometry": "valid", "order": "conv-relu-bn", "adapt_bn": True}},
        {"network": {"geometry": "pooled"}},
        {"network": {"geometry": "pooled", "adapt_bn": True}, **PLAIN},
    ],
    ids=str,
)
def test_equals_maml_that_moves_only_the_head(changes: dict[str, Any]) -> None:
    s, network, theta, batch = episodes({**CACHED, **changes})
    *expected, losses = reference(s, network, theta, batch)
    found = meta_gradient("anil", network, theta, batch, s)
    torch.testing.assert_close(found.loss, losses, rtol=1e-11, atol=0)
    for f, e in zip((found.adapted, found.shared), expected, strict=True):
        assert relative(f, e) < 1e-11


def test_second_order_and_the_support_features_count() -> None:
    """The query gradient at the adapted head is far from the meta-gradient, of body and head."""
    s, network, theta, batch = episodes(CACHED)
    found = meta_gradient("anil", network, theta, batch, s).adapted
    phi = adapt("anil", network, theta, batch, s, window=1)
    outer = EpisodeLoss(network, theta.shared, batch.query_images, batch.query_labels)
    query = outer.evaluate(phi)
    first_order = network.sum_tasks(query.by_phi) / batch.tasks
    body = network.slots["head.weight"].start
    assert relative(first_order[:body], found[:body]) > 0.01
    assert relative(first_order[body:], found[body:]) > 0.01


def test_against_finite_differences() -> None:
    s, network, theta, batch = episodes(CACHED)
    found = meta_gradient("anil", network, theta, batch, s)
    along = directions(theta)
    expected = found.adapted @ along[0] + found.shared @ along[1]
    found_slope = slope("anil", (s, network, theta, batch), along, 1e-6)
    assert found_slope == pytest.approx(expected.item(), rel=1e-5)


def test_chunks_and_the_order_of_tasks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    s, network, theta, batch = episodes(CACHED, tasks=5)
    whole = meta_gradient("anil", network, theta, batch, s)
    order = torch.tensor([3, 0, 4, 1, 2])
    permuted = meta_gradient(
        "anil", network, theta, Batch(*(t[order] for t in vars(batch).values())), s
    )
    torch.testing.assert_close(permuted.loss, whole.loss[order], rtol=1e-11, atol=0)
    monkeypatch.setattr(meta, "chunk_size", lambda *_: 2)
    for other in (permuted, meta_gradient("anil", network, theta, batch, s)):
        assert relative(other.adapted, whole.adapted) < 1e-11
        assert relative(other.shared, whole.shared) < 1e-11


def test_adaptation_moves_the_head_alone_for_the_test_steps() -> None:
    s, network, theta, batch = episodes(CACHED)
    start = network.expand(theta.adapted, batch.tasks)
    phi = adapt("anil", network, theta, batch, s, window=1)
    body = batch.tasks * network.slots["head.weight"].start
    assert torch.equal(phi[:body], start[:body])
    longer = s.model_copy(update={"test_steps": 2 * s.test_steps})
    inner = EpisodeLoss(network, theta.shared, batch.support_images, batch.support_labels)
    losses = [
        inner.value(inner.logits(p)).mean().item()
        for p in (start, phi, adapt("anil", network, theta, batch, longer, window=1))
    ]
    assert losses[0] > losses[1] > losses[2]
    # The head that training ends with is the one that evaluation uses.
    outer = EpisodeLoss(network, theta.shared, batch.query_images, batch.query_labels)
    found = meta_gradient("anil", network, theta, batch, s)
    torch.testing.assert_close(found.loss, outer.value(outer.logits(phi)), rtol=1e-11, atol=0)


def test_memory_grows_with_the_steps_only_without_the_cache() -> None:
    kept: dict[tuple[bool, int], int] = {}
    for cache in (True, False):
        for steps in (1, 2, 4):
            s, network, theta, batch = episodes(
                {"inner_steps": steps, "options": {"cache_features": cache}}
            )
            kept[cache, steps] = meta_gradient("anil", network, theta, batch, s).nbytes
    assert kept[True, 4] - kept[True, 1] < 0.02 * kept[True, 1]
    assert kept[False, 1] == pytest.approx(kept[True, 1], rel=0.02)
    step = kept[False, 2] - kept[False, 1]
    assert step > 0.1 * kept[False, 1]
    assert kept[False, 4] - kept[False, 2] == 2 * step


@pytest.mark.parametrize("cache", [True, False])
def test_a_cuda_graph_can_hold_it(cache: bool) -> None:
    setting = episodes({"options": {"cache_features": cache}})
    _, network, theta, batch = setting
    phi = torch.Size([batch.tasks * network.adapted_size])
    assert valueless("anil", setting) == (theta.adapted.shape, phi)
