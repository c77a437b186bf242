"""Every algorithm's meta-gradient against finite differences and the plain reference."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from fewshot_episodes import adapt, episodes, meta_gradient
from helpers import small_params
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional as F

from multistep.fewshot import algorithms, meta
from multistep.fewshot.batched import BatchedConv4
from multistep.fewshot.episodes import Batch
from multistep.fewshot.settings import FewShot
from multistep.inner.dynamics import SGD, Tensors
from multistep.inner.unroll import unroll
from multistep.networks.conv4 import Conv4
from multistep.plan.params import cell_settings

METHODS = ["maml", "fomaml", "multistep2", "multistep4"]
ALGORITHMS = {"maml": "multistep", "fomaml": "first_order"}


def setting(method: str, tasks: int = 3) -> tuple[FewShot, BatchedConv4, meta.Theta, Batch]:
    s = cell_settings(small_params(), "5way_1shot", method).model_copy(update={"queries": 2})
    s = s.model_copy(update={"inner_lr": 0.1})
    network = meta.build_network(s, 28)
    theta = meta.initial_theta(network, 0, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)

    def images(count: int) -> Tensor:
        return torch.rand(tasks, count, 1, 28, 28, generator=generator, dtype=torch.float64)

    labels = torch.arange(5).expand(tasks, 5).contiguous()
    batch = Batch(images(5), labels, images(10), labels.repeat_interleave(2, 1))
    double = meta.Theta(theta.adapted.double(), theta.shared.double())
    return s, network, double, batch


def gradient(
    method: str, s: FewShot, network: BatchedConv4, theta: meta.Theta, batch: Batch
) -> meta.MetaGradient:
    algorithm = algorithms.get(ALGORITHMS.get(method, "multistep"))(s)
    return meta.meta_gradient(algorithm, network, theta, batch)


@pytest.mark.parametrize("method", METHODS)
def test_meta_gradient_equals_the_torch_func_reference(method: str) -> None:
    """vmap over tasks of the plain unroll on the plain module, differentiated by autograd."""
    s, network, theta, batch = setting(method)
    module = Conv4(network.config)
    leaves = {n: p.requires_grad_() for n, p in network.unpack(*vars(theta).values()).items()}
    adapted = {n: p for n, p in leaves.items() if network.slots[n].adapted}
    first_order = method == "fomaml"

    def task(xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor) -> Tensor:
        def support(p: Tensors) -> Tensor:
            return F.cross_entropy(functional_call(module, {**leaves, **p}, (xs,)), ys)

        phi, _ = unroll(
            support,
            adapted,
            SGD(s.inner_lr, s.momentum, s.weight_decay),
            steps=s.inner_steps,
            window=s.window,
            first_order=first_order,
        )
        return F.cross_entropy(functional_call(module, {**leaves, **phi}, (xq,)), yq)

    losses = vmap(task)(*vars(batch).values())
    grads = torch.autograd.grad(losses.mean(), list(leaves.values()))
    expected = network.pack(dict(zip(leaves, grads, strict=True)))
    found = gradient(method, s, network, theta, batch)
    torch.testing.assert_close(found.loss, losses.detach(), rtol=1e-11, atol=0)
    for f, e in zip((found.adapted, found.shared), expected, strict=True):
        assert float((f - e).norm() / e.norm()) < 1e-11


@pytest.mark.parametrize("method", ["maml", "multistep2", "multistep4"])
def test_meta_gradient_against_finite_differences(method: str) -> None:
    s, network, theta, batch = setting(method)
    found = gradient(method, s, network, theta, batch)
    generator = torch.Generator().manual_seed(1)
    direction = meta.Theta(  # about unit length: few ReLUs change sides within a step
        *(torch.randn(t.shape, generator=generator).double() / 100 for t in vars(theta).values())
    )

    def loss(step: float) -> float:
        moved = meta.Theta(
            theta.adapted + step * direction.adapted, theta.shared + step * direction.shared
        )
        return gradient(method, s, network, moved, batch).loss.mean().item()

    h = 1e-6
    slope = (loss(h) - loss(-h)) / (2 * h)
    expected = found.adapted @ direction.adapted + found.shared @ direction.shared
    assert slope == pytest.approx(expected.item(), rel=1e-5)


def test_exact_estimated_and_first_order_differ() -> None:
    """Second order is really there, and windows really change it."""
    grads = {}
    for method in METHODS:
        s, network, theta, batch = setting(method)
        s = s.model_copy(update={"momentum": 0.0, "weight_decay": 0.0})
        grads[method] = gradient(method, s, network, theta, batch).adapted
    for a in METHODS:
        for b in METHODS:
            if a < b:
                assert float((grads[a] - grads[b]).norm() / grads[b].norm()) > 0.01, (a, b)


def test_multistep_1_is_maml() -> None:
    s, network, theta, batch = setting("multistep2")
    one = s.model_copy(update={"window": 1})
    maml = setting("maml")[0]
    assert torch.equal(
        gradient("multistep2", one, network, theta, batch).adapted,
        gradient("maml", maml, network, theta, batch).adapted,
    )


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A meta-batch in parts (CPU) or whole (CUDA) gives one gradient; so do tasks one by one."""
    s, network, theta, batch = setting("multistep2", tasks=5)
    found = []
    for size in (1, 2, None):
        monkeypatch.setattr(meta, "chunk_size", lambda *_, size=size: size)
        found.append(gradient("multistep2", s, network, theta, batch))
    for other in found[1:]:
        torch.testing.assert_close(other.adapted, found[0].adapted, rtol=1e-11, atol=1e-15)
        torch.testing.assert_close(other.shared, found[0].shared, rtol=1e-11, atol=1e-15)
        torch.testing.assert_close(other.loss, found[0].loss, rtol=1e-11, atol=0)


def test_adaptation_takes_the_test_steps() -> None:
    s, network, theta, batch = setting("multistep2")
    longer = s.model_copy(update={"test_steps": 8})
    phi4 = adapt("multistep", network, theta, batch, s, window=2)
    phi8 = adapt("multistep", network, theta, batch, longer, window=2)
    assert not torch.allclose(phi4, phi8)
    assert not torch.allclose(phi4, adapt("multistep", network, theta, batch, s, window=1))


def test_shuffled_support_labels_give_chance() -> None:
    """Nothing but the support set tells a class: with its labels shuffled accuracy is 1/N."""
    s, network, theta, batch = setting("fomaml", tasks=400)
    generator = torch.Generator().manual_seed(2)
    labels = torch.stack([torch.randperm(5, generator=generator) for _ in range(400)])
    shuffled = dataclasses.replace(batch, support_labels=labels)
    algorithm = algorithms.get("first_order")(s)
    accuracy = meta.query_accuracy(algorithm, network, theta, shuffled, window=1)
    assert accuracy.mean().item() == pytest.approx(0.2, abs=4 * (0.16 / 4000) ** 0.5)


@pytest.mark.parametrize("geometry", ["strided", "pooled"])
def test_replay_is_exact_and_its_memory_does_not_grow_with_the_windows(geometry: str) -> None:
    network = {"geometry": geometry, "head_std": 0.2}
    found = {}
    for steps in (2, 8):
        for scheme in ("keep", "replay"):
            changes = {"network": network, "inner_steps": steps, "scheme": scheme}
            s, net, theta, batch = episodes(changes)
            found[steps, scheme] = meta_gradient("multistep", net, theta, batch, s)
        kept, replayed = found[steps, "keep"], found[steps, "replay"]
        torch.testing.assert_close(replayed.adapted, kept.adapted, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(replayed.shared, kept.shared, rtol=1e-12, atol=1e-15)
    starts = 3 * 6 * net.adapted_size * 8  # φ of three tasks at six more window starts, float64
    assert found[8, "replay"].nbytes - found[2, "replay"].nbytes == starts
    assert found[8, "keep"].nbytes - found[2, "keep"].nbytes > 10 * starts
