"""Reptile against training each task on the plain module with `torch.optim.Adam`."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from fewshot_case import Case, Plain, Reference, case, relative, settings
from torch import Tensor
from torch.nn import functional as F

from multistep.fewshot import algorithms, meta
from multistep.fewshot.algorithms.reptile import taking_turns
from multistep.files import UserError

WAYS = 5
# Four steps of ten of the twenty images: every image twice.
BASE: dict[str, Any] = {
    "shots": 2,
    "inner_steps": 4,
    "inner_lr": 1e-2,
    "options": {"train_shots": 4, "inner_batch": 10, "test_batch": 5, "adam_beta2": 0.999},
}
CASES = [BASE | {"network": {"adapt_bn": adapt_bn}} for adapt_bn in (True, False)]
TOLERANCE = 1e-7


def by_class(case: Case, plain: Plain) -> tuple[Tensor, Tensor]:
    """One task's images `[ways, shots + queries, ...]` and their labels, support first."""
    xs, ys, xq, yq = (t.unflatten(0, (WAYS, -1)) for t in plain.episode)
    return torch.cat([xs, xq], 1), torch.cat([ys, yq], 1)


def train_one(
    case: Case, plain: Plain, images: Tensor, labels: Tensor, steps: int, size: int
) -> meta.Theta:
    """One task, `images` `[ways, shots, ...]`: a plain loop with `torch.optim.Adam`."""
    network, module = case.network, plain.module
    module.double().load_state_dict(network.unpack(*vars(case.theta).values()))
    moving = [p for n, p in module.named_parameters() if network.slots[n].adapted]
    beta2 = case.settings.options["adam_beta2"]
    adam = torch.optim.Adam(moving, lr=case.settings.inner_lr, betas=(0.0, beta2), eps=1e-8)
    classes, places = taking_turns(*labels.shape, steps * size, labels.device)
    for c, i in zip(classes.split(size), places.split(size), strict=True):
        loss = F.cross_entropy(module(images[c, i]), labels[c, i])
        adam.zero_grad()
        loss.backward()
        adam.step()
    return meta.Theta(*network.pack({n: p.detach() for n, p in module.named_parameters()}))


def ends(case: Case) -> list[tuple[meta.Theta, Tensor]]:
    """Where each task ends, and the loss there on the next image of each class."""
    o, found = case.settings.options, []
    for plain in case.plain():
        images, labels = by_class(case, plain)
        n = o["train_shots"]
        part = images[:, :n], labels[:, :n]
        phi = train_one(case, plain, *part, case.settings.inner_steps, o["inner_batch"])
        loss = plain.loss(phi.adapted, phi.shared, images[:, n], labels[:, n])
        found.append((phi, loss))
    return found


def reference(case: Case) -> Reference:
    """Eq. 17, averaged over the tasks."""
    found = ends(case)
    adapted = torch.stack([case.theta.adapted - phi.adapted for phi, _ in found]).mean(0)
    losses = torch.stack([loss for _, loss in found])
    return adapted, torch.zeros_like(case.theta.shared), losses


def test_one_step_is_the_normalised_gradient_of_the_mini_batch() -> None:
    """From a fresh state Adam without a mean moves each entry by η g / (|g| + ε)."""
    work = case("reptile", BASE | {"inner_steps": 1, "network": {"adapt_bn": True}})
    c, i = taking_turns(WAYS, 4, 10, torch.device("cpu"))
    total = torch.zeros_like(work.theta.adapted)
    for plain in work.plain():
        images, labels = by_class(work, plain)
        theta = work.theta.adapted.clone().requires_grad_()
        loss = plain.loss(theta, work.theta.shared, images[c, i], labels[c, i])
        (g,) = torch.autograd.grad(loss, theta)
        total += g / (g.abs() + 1e-8)
    expected = work.settings.inner_lr * total / work.batch.tasks
    assert relative(work.gradient().adapted, expected) < 1e-6  # |g| down to the size of ε


@pytest.mark.parametrize("shots", [1, 2])
def test_adaptation_is_adam_on_the_support_set(shots: int) -> None:
    changes = BASE | {"shots": shots, "test_steps": 5}
    work = case("reptile", changes | {"options": BASE["options"] | {"train_shots": 3}})
    for plain, phi in zip(work.plain(), work.per_task(work.adapt()), strict=True):
        xs, ys = (t.unflatten(0, (WAYS, -1)) for t in plain.episode[:2])
        expected = train_one(work, plain, xs, ys, 5, 5).adapted
        start = work.theta.adapted
        assert relative(phi - start, expected - start) < TOLERANCE


def test_the_update_averages_where_the_tasks_end() -> None:
    """SGD on the meta-gradient with rate ε: θ + ε mean(φ - θ)."""
    work = case("reptile", BASE)
    theta = work.theta.adapted
    moved = theta - 0.3 * work.gradient().adapted
    mean = torch.stack([phi.adapted for phi, _ in ends(work)]).mean(0)
    assert relative(moved - theta, 0.7 * theta + 0.3 * mean - theta) < TOLERANCE


@pytest.mark.parametrize(("ways", "shots"), [(5, 10), (20, 10), (20, 1), (5, 1), (5, 15), (5, 5)])
def test_every_image_has_its_turn(ways: int, shots: int) -> None:
    """In each pass all images once; in a row of N images each class once; passes differ."""
    count = ways * shots
    classes, places = taking_turns(ways, shots, 3 * count, torch.device("cpu"))
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
    work = case("reptile", BASE)
    more, larger = work.but(inner_steps=8), work.but(options={"inner_batch": 20})
    assert more.gradient().nbytes == work.gradient().nbytes < larger.gradient().nbytes


def test_labels_are_those_of_the_episode() -> None:
    work = case("reptile", BASE)
    rolled = work.batch.support_labels.roll(2, 1)
    other = work.on(dataclasses.replace(work.batch, support_labels=rolled))
    assert relative(other.gradient().adapted, work.gradient().adapted) > 1e-3


def test_too_many_training_images_and_wrong_options_are_told() -> None:
    s = settings("reptile", BASE | {"options": {"train_shots": 5}})
    with pytest.raises(UserError, match=r"options.train_shots: 5 leave none of the 2 shots"):
        algorithms.get("reptile")(s)
    with pytest.raises(UserError, match=r"options\.train_shots: Field required"):
        algorithms.get("reptile")(s.model_copy(update={"options": {}}))
