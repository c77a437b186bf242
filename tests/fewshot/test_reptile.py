"""Reptile against training each task on the plain module with `torch.optim.Adam`."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from fewshot_episodes import adapt, meta_gradient, summed
from helpers import small_params
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from multistep.fewshot import meta
from multistep.fewshot.algorithms import reptile
from multistep.fewshot.batched import BatchedConv4
from multistep.fewshot.episodes import Batch
from multistep.fewshot.settings import FewShot
from multistep.files import UserError
from multistep.networks.conv4 import Conv4
from multistep.plan.params import cell_settings

OPTIONS = {"train_shots": 4, "inner_batch": 10, "test_batch": 5, "adam_beta2": 0.999}
TASKS, WAYS = 3, 5


def settings(shots: int = 2, adapt_bn: bool = True, **changes: Any) -> FewShot:
    s = cell_settings(small_params(), "5way_1shot", "maml").model_copy(update={"queries": 3})
    assert isinstance(s, FewShot)
    network = s.network.model_copy(update={"adapt_bn": adapt_bn})
    base = {"shots": shots, "network": network, "options": OPTIONS, "inner_lr": 1e-2}
    return s.model_copy(update=base | changes)


def setting(s: FewShot, seed: int = 0) -> tuple[BatchedConv4, meta.Theta, Batch]:
    """A small network in float64 and three episodes with labels of their own."""
    network = meta.build_network(s, 28)
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    theta = meta.initial_theta(network, 0, torch.device("cpu"))
    double = meta.Theta(*(t.double() + 0.05 * noise(*t.shape) for t in vars(theta).values()))
    names = torch.stack([torch.randperm(WAYS, generator=generator) for _ in range(TASKS)])
    parts: list[Tensor] = []
    for count in (s.shots, s.queries):
        parts += [noise(TASKS, WAYS * count, 1, 28, 28).abs(), names.repeat_interleave(count, 1)]
    return network, double, Batch(*parts)


def training_images(batch: Batch, s: FewShot) -> tuple[Tensor, Tensor]:
    """Images `[tasks, ways, shots + queries, ...]` and their labels, support first."""
    pairs = (
        (batch.support_images, batch.query_images),
        (batch.support_labels, batch.query_labels),
    )
    images, labels = (
        torch.cat(
            [
                a.view(TASKS, WAYS, s.shots, *a.shape[2:]),
                b.view(TASKS, WAYS, s.queries, *b.shape[2:]),
            ],
            2,
        )
        for a, b in pairs
    )
    return images, labels


def train_one(
    network: BatchedConv4,
    theta: meta.Theta,
    images: Tensor,
    labels: Tensor,
    lr: float,
    steps: int,
    size: int,
) -> meta.Theta:
    """One task, `images` `[ways, shots, ...]`: a plain loop with `torch.optim.Adam`."""
    module = Conv4(network.config).double()
    module.load_state_dict(network.unpack(*vars(theta).values()))
    moving = [p for n, p in module.named_parameters() if network.slots[n].adapted]
    adam = torch.optim.Adam(moving, lr=lr, betas=(0.0, OPTIONS["adam_beta2"]), eps=1e-8)
    classes, places = reptile.taking_turns(*labels.shape, steps * size, labels.device)
    for t in range(steps):
        part = slice(t * size, (t + 1) * size)
        loss = F.cross_entropy(
            module(images[classes[part], places[part]]), labels[classes[part], places[part]]
        )
        adam.zero_grad()
        loss.backward()
        adam.step()
    return meta.Theta(*network.pack({n: p.detach() for n, p in module.named_parameters()}))


def close(found: Tensor, expected: Tensor, rel: float = 1e-8) -> bool:
    return float((found - expected).norm() / expected.norm()) < rel


def test_one_step_is_the_normalised_gradient_of_the_mini_batch() -> None:
    """From a fresh state Adam without a mean moves each entry by η g / (|g| + ε)."""
    s = settings(inner_steps=1)
    network, theta, batch = setting(s)
    images, labels = training_images(batch, s)
    c, i = reptile.taking_turns(WAYS, 4, 10, labels.device)
    module = Conv4(network.config)
    total = torch.zeros_like(theta.adapted)
    for x, y in zip(images, labels, strict=True):
        leaves = {
            n: p.requires_grad_() for n, p in network.unpack(theta.adapted, theta.shared).items()
        }
        loss = F.cross_entropy(functional_call(module, leaves, (x[c, i],)), y[c, i])
        grads = torch.autograd.grad(loss, list(leaves.values()))
        g, _ = network.pack(dict(zip(leaves, grads, strict=True)))
        total += g / (g.abs() + 1e-8)
    found = summed("reptile", network, theta, batch, s)
    assert close(found.adapted, s.inner_lr * total, 1e-6)  # |g| down to the size of ε


@pytest.mark.parametrize("adapt_bn", [True, False])
def test_meta_gradient_is_the_way_that_torch_optim_adam_takes(adapt_bn: bool) -> None:
    """Four steps of ten of the twenty images: every image twice."""
    s = settings(adapt_bn=adapt_bn, inner_steps=4)
    network, theta, batch = setting(s)
    images, labels = training_images(batch, s)
    module = Conv4(network.config)
    expected = torch.zeros_like(theta.adapted)
    losses, accuracies = [], []
    for x, y in zip(images, labels, strict=True):
        phi = train_one(network, theta, x[:, :4], y[:, :4], s.inner_lr, 4, 10)
        assert torch.equal(phi.shared, theta.shared)
        expected += theta.adapted - phi.adapted
        logits = functional_call(module, network.unpack(*vars(phi).values()), (x[:, 4],))
        losses.append(F.cross_entropy(logits, y[:, 4]))
        accuracies.append((logits.argmax(1) == y[:, 4]).double().mean())
    found = summed("reptile", network, theta, batch, s)
    assert close(found.adapted, expected)
    torch.testing.assert_close(found.loss, torch.stack(losses), rtol=1e-7, atol=0)
    assert torch.equal(found.accuracy, torch.stack(accuracies))
    assert not found.shared.any()
    assert found.shared.numel() == (0 if adapt_bn else network.shared_size)
    assert found.nbytes > 0


@pytest.mark.parametrize("shots", [1, 2])
def test_adaptation_is_adam_on_the_support_set(shots: int) -> None:
    s = settings(shots=shots, test_steps=5, options=OPTIONS | {"train_shots": 3})
    network, theta, batch = setting(s)
    x = batch.support_images.view(TASKS, WAYS, shots, 1, 28, 28)
    y = batch.support_labels.view(TASKS, WAYS, shots)
    phi = adapt("reptile", network, theta, batch, s, window=1)
    for k in range(TASKS):
        expected = train_one(network, theta, x[k], y[k], s.inner_lr, 5, 5).adapted
        found = torch.zeros(TASKS, dtype=torch.float64)
        found[k] = 1.0
        part = network.sum_tasks(network.task_scale(phi, found))
        assert close(part - theta.adapted, expected - theta.adapted)


def test_a_task_starts_afresh() -> None:
    """No moment of Adam goes from one task to another: their order and company do not matter."""
    s = settings()
    network, theta, batch = setting(s)
    together = summed("reptile", network, theta, batch, s)
    turned = Batch(*(t.flip(0) for t in vars(batch).values()))
    again = summed("reptile", network, theta, turned, s)
    torch.testing.assert_close(again.adapted, together.adapted, rtol=1e-12, atol=1e-16)
    torch.testing.assert_close(again.loss, together.loss.flip(0), rtol=1e-12, atol=0)
    alone = [summed("reptile", network, theta, part, s) for part in batch.split(1)]
    torch.testing.assert_close(
        sum(part.adapted for part in alone), together.adapted, rtol=1e-12, atol=1e-16
    )


def test_the_update_averages_where_the_tasks_end() -> None:
    """SGD on the meta-gradient with rate ε: θ + ε mean(φ - θ)."""
    s = settings()
    network, theta, batch = setting(s)
    images, labels = training_images(batch, s)
    gradient = meta_gradient("reptile", network, theta, batch, s)
    ends = [
        train_one(network, theta, x[:, :4], y[:, :4], s.inner_lr, s.inner_steps, 10).adapted
        for x, y in zip(images, labels, strict=True)
    ]
    moved = theta.adapted - 0.3 * gradient.adapted
    expected = 0.7 * theta.adapted + 0.3 * torch.stack(ends).mean(0)
    assert close(moved - theta.adapted, expected - theta.adapted)


@pytest.mark.parametrize(("ways", "shots"), [(5, 10), (20, 10), (20, 1), (5, 1), (5, 15), (5, 5)])
def test_every_image_has_its_turn(ways: int, shots: int) -> None:
    """In each pass all images once; in a row of N images each class once; passes differ."""
    count = ways * shots
    classes, places = reptile.taking_turns(ways, shots, 3 * count, torch.device("cpu"))
    passes = (classes * shots + places).view(3, count)
    for one in passes:
        assert sorted(one.tolist()) == list(range(count))
    for row in classes.view(-1, ways):
        assert sorted(row.tolist()) == list(range(ways))
    rounds = [{frozenset(row.tolist()) for row in one.view(shots, ways)} for one in passes]
    assert shots == 1 or not rounds[0] & rounds[1]
    last = classes.view(-1, ways)[:, -1]
    assert len(set(last.tolist())) == min(ways, 3 * shots)


def test_memory_depends_on_the_mini_batch_alone() -> None:
    few = settings(inner_steps=2)
    network, theta, batch = setting(few)
    more = settings(inner_steps=8)
    larger = settings(options={**OPTIONS, "inner_batch": 20})
    kept = [summed("reptile", network, theta, batch, s).nbytes for s in (few, more, larger)]
    assert kept[0] == kept[1] < kept[2]


def test_labels_are_those_of_the_episode() -> None:
    s = settings()
    network, theta, batch = setting(s)
    other = dataclasses.replace(batch, support_labels=batch.support_labels.roll(2, 1))
    found = [summed("reptile", network, theta, b, s).adapted for b in (batch, other)]
    assert not torch.allclose(found[0], found[1], rtol=1e-3)


def test_too_many_training_images_and_wrong_options_are_told() -> None:
    s = settings(options={**OPTIONS, "train_shots": 5})
    network, theta, batch = setting(s)
    with pytest.raises(UserError, match=r"options.train_shots: 5 leave none of the 2 shots"):
        summed("reptile", network, theta, batch, s)
    with pytest.raises(UserError, match=r"options\.train_shots: Field required"):
        summed("reptile", network, theta, batch, settings(options={}))
