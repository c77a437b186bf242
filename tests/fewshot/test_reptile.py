"""Reptile against training each task on the plain module with `torch.optim.Adam`."""

import dataclasses
from itertools import product
from typing import Any

import pytest
import torch
from fewshot_case import Case, Plain, Reference, case, parts, relative, settings
from torch import Tensor
from torch.nn import functional as F

from multistep.fewshot import algorithms, meta
from multistep.fewshot.algorithms.reptile import shuffled, taking_turns
from multistep.files import UserError

WAYS = 5
OPTIONS: dict[str, Any] = {"train_shots": 4, "inner_batch": 8, "test_batch": 5}
OPTIONS |= {"adam_beta2": 0.999, "batches": "shuffled"}
# Four steps of eight of the twenty images: some are in two mini-batches.
BASE: dict[str, Any] = {"shots": 2, "inner_steps": 4, "inner_lr": 1e-2}
BASE |= {"network": {"adapt_bn": True}, "options": OPTIONS | {"moments": "carried"}}
FRESH = BASE | {"options": OPTIONS | {"moments": "fresh"}}
CASES = [
    base | {"network": {"adapt_bn": adapt_bn}}
    for base, adapt_bn in product((BASE, FRESH), (True, False))
]
CASES.append(FRESH | {"options": FRESH["options"] | {"batches": "turns"}})
TOLERANCE = 1e-7


def by_class(case: Case, plain: Plain) -> tuple[Tensor, Tensor]:
    """One task's images `[ways, shots + queries, ...]` and their labels, support first."""
    xs, ys, xq, yq = (t.unflatten(0, (WAYS, -1)) for t in plain.episode[:4])
    return torch.cat([xs, xq], 1), torch.cat([ys, yq], 1)


def adam(case: Case, plain: Plain) -> torch.optim.Adam:
    """Of the parameters that move, at θ."""
    network = case.network
    plain.module.double().load_state_dict(network.unpack(*parts(case.theta)))
    moving = [p for n, p in plain.module.named_parameters() if network.slots[n].adapted]
    beta2 = case.settings.options["adam_beta2"]
    return torch.optim.Adam(moving, lr=case.settings.inner_lr, betas=(0.0, beta2), eps=1e-8)


def train_one(
    case: Case, plain: Plain, optimizer: torch.optim.Adam, images: Tensor, labels: Tensor, size: int
) -> meta.Theta:
    """One task from θ: a plain loop over mini-batches of `images` `[images, ...]`."""
    network, module = case.network, plain.module
    module.load_state_dict(network.unpack(*parts(case.theta)))
    steps = case.settings.inner_steps
    order = taking_turns(WAYS, labels, steps * size)
    if case.settings.options["batches"] == "shuffled":
        order = shuffled(plain.episode[4].view(1), len(labels), steps * size)[0]
    for places in order.split(size):
        loss = F.cross_entropy(module(images[places]), labels[places])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return meta.Theta(*network.pack({n: p.detach() for n, p in module.named_parameters()}))


def ends(case: Case) -> tuple[list[meta.Theta], Tensor, torch.optim.Adam]:
    """Where each task ends, the losses there on the next image of each class, and Adam then."""
    o, found, losses = case.settings.options, [], []
    tasks = case.plain()  # on one module
    optimizer = adam(case, tasks[0])
    for plain in tasks:
        images, labels = by_class(case, plain)
        n = o["train_shots"]
        if o["moments"] == "fresh":
            optimizer.state.clear()
        task = images[:, :n].flatten(0, 1), labels[:, :n].flatten(0, 1)
        phi = train_one(case, plain, optimizer, *task, o["inner_batch"])
        losses.append(plain.loss(phi.adapted, phi.shared, images[:, n], labels[:, n]))
        found.append(phi)
    return found, torch.stack(losses).detach(), optimizer


def reference(case: Case) -> Reference:
    """Eq. 17, averaged over the tasks."""
    found, losses, _ = ends(case)
    adapted = torch.stack([case.theta.adapted - phi.adapted for phi in found]).mean(0)
    return adapted, torch.zeros_like(case.theta.shared), losses


def test_adam_s_moments_go_from_task_to_task_and_on_to_the_next_meta_batch() -> None:
    """As openai/supervised-reptile, which puts back the weights alone."""
    work = case("reptile", BASE)
    *_, optimizer = ends(work)
    carried = work.gradient().carried
    state = optimizer.state_dict()["state"]
    assert carried["steps"] == state[0]["step"] == 3 * 4
    names = [n for n, slot in work.network.slots.items() if slot.adapted]
    variance = {n: state[i]["exp_avg_sq"] for i, n in enumerate(names)}
    assert relative(carried["variance"], work.network.pack(variance)[0]) < TOLERANCE
    again = work.at(dataclasses.replace(work.theta, carried=carried)).gradient()
    assert again.carried["steps"] == 24
    assert relative(again.adapted, work.gradient().adapted) > 1e-3
    fresh = case("reptile", FRESH)
    assert fresh.gradient().carried == {}
    assert relative(fresh.gradient().adapted, work.gradient().adapted) > 1e-3


def test_the_test_adapts_from_the_trained_moments() -> None:
    """Every episode from the same ones; with none yet, as from zero."""
    changes = BASE | {"test_steps": 4, "shots": 2}
    work = case("reptile", changes)
    zero = work.adapt()
    theta = dataclasses.replace(work.theta, carried=work.gradient().carried)
    trained = work.at(theta).adapt()
    assert relative(trained, zero) > 1e-3
    assert relative(work.permuted([2, 0, 1]).at(theta).adapt(), trained) > 0  # another layout
    tasks = zip(work.plain(), work.per_task(trained), work.per_task(zero), strict=True)
    for plain, phi, cold in tasks:
        xs, ys = plain.episode[:2]
        *_, optimizer = ends(work)
        for module_state, found in ((optimizer.state_dict(), phi), (None, cold)):
            own = adam(work, plain)
            if module_state is not None:
                own.load_state_dict(module_state)
            expected = train_one(work, plain, own, xs, ys, 5).adapted
            start = work.theta.adapted
            assert relative(found - start, expected - start) < TOLERANCE


def test_one_step_is_the_normalised_gradient_of_the_mini_batch() -> None:
    """From a fresh state Adam without a mean moves each entry by η g / (|g| + ε)."""
    work = case("reptile", FRESH | {"inner_steps": 1})
    total = torch.zeros_like(work.theta.adapted)
    for plain in work.plain():
        images, labels = (t[:, :4].flatten(0, 1) for t in by_class(work, plain))
        i = shuffled(plain.episode[4].view(1), 20, 8)[0]
        theta = work.theta.adapted.clone().requires_grad_()
        loss = plain.loss(theta, work.theta.shared, images[i], labels[i])
        (g,) = torch.autograd.grad(loss, theta)
        total += g / (g.abs() + 1e-8)
    expected = work.settings.inner_lr * total / work.batch.tasks
    assert relative(work.gradient().adapted, expected) < 1e-6  # |g| down to the size of ε


def test_the_update_averages_where_the_tasks_end() -> None:
    """SGD on the meta-gradient with rate ε: θ + ε mean(φ - θ)."""
    work = case("reptile", BASE)
    theta = work.theta.adapted
    moved = theta - 0.3 * work.gradient().adapted
    mean = torch.stack([phi.adapted for phi in ends(work)[0]]).mean(0)
    assert relative(moved - theta, 0.7 * theta + 0.3 * mean - theta) < TOLERANCE


@pytest.mark.parametrize(("images", "count"), [(50, 160), (200, 300), (5, 13), (20, 20)])
def test_every_image_has_its_turn_in_random_order(images: int, count: int) -> None:
    """In each pass all images once; passes and tasks differ; any image is equally likely first."""
    order = shuffled(torch.arange(2000), images, count)
    assert order.shape == (2000, count)
    assert torch.equal(order, shuffled(torch.arange(2000), images, count))
    for begin in range(0, count - images + 1, images):
        one = order[:, begin : begin + images].sort(1).values
        assert torch.equal(one, torch.arange(images).expand_as(one))
        expected = 2000 / images
        seen = torch.bincount(order[:, begin], minlength=images).double()
        chi_squared = ((seen - expected) ** 2 / expected).sum().item()
        assert chi_squared < images - 1 + 6 * (2 * images) ** 0.5
    if count >= 2 * images:
        assert (order[:, :images] == order[:, images : 2 * images]).all(1).float().mean() < 0.05
    assert len({tuple(row) for row in order[:50].tolist()}) > 45


@pytest.mark.parametrize(("ways", "shots"), [(5, 10), (20, 10), (20, 1), (5, 1), (5, 15), (5, 5)])
def test_classes_take_turns(ways: int, shots: int) -> None:
    """In each pass all images once; in a row of N images each class once; passes differ."""
    count = ways * shots
    order = taking_turns(ways, torch.arange(ways).repeat_interleave(shots), 3 * count)
    passes = order.view(3, count)
    for one in passes:
        assert sorted(one.tolist()) == list(range(count))
    classes = order.div(shots, rounding_mode="floor").view(-1, ways)
    for row in classes:
        assert sorted(row.tolist()) == list(range(ways))
    rounds = [{frozenset(row.tolist()) for row in one.view(shots, ways)} for one in passes]
    assert shots == 1 or not rounds[0] & rounds[1]
    assert len(set(classes[:, -1].tolist())) == min(ways, 3 * shots)


@pytest.mark.parametrize("counts", [[1, 1], [3, 2, 2], [1, 4, 2, 1, 3]])
def test_classes_of_other_sizes_take_turns(counts: list[int]) -> None:
    """Images of one's own are fewer classes and any number of each: all of them are shown."""
    classes = torch.arange(len(counts))
    labels = classes.repeat_interleave(torch.tensor(counts))
    rounds = taking_turns(5, labels, 12 * len(counts)).view(12, -1)
    assert torch.equal(labels[rounds].sort(1).values, classes.expand(12, -1))
    for label, count in enumerate(counts):
        shown = rounds[labels[rounds] == label]
        assert shown[:count].unique().numel() == count
        assert len({*shown.bincount()[shown].tolist()}) == 1  # 12 rounds are whole passes


def test_memory_depends_on_the_mini_batch_alone() -> None:
    work = case("reptile", BASE)
    more, larger = work.but(inner_steps=8), work.but(options={"inner_batch": 16})
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
