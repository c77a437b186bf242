"""Reptile: θ moves towards the parameters in which ordinary training on a task ends.

Training on one task, T steps of Adam without its mean (β₁ = 0) from φ = θ, s = 0 on mini-batches B:

    g = ∇L_B(φ),  s ← β₂ s + (1 - β₂) g²,  φ ← φ - η g / (√(s / (1 - β₂ᵗ)) + ε)
    "meta-gradient"  θ - φ,  so that SGD with the rate ε_k takes  θ ← θ + ε_k mean(φ - θ)

Cost per task: T gradients of one mini-batch and nothing else, no second order and no query set;
memory is that of one gradient and depends neither on T nor on the shots (Nichol, Achiam and
Schulman 2018, algorithm 1 and section 6).

Only adapted parameters can move: γ and β are learned if `network.adapt_bn` is true, as published,
and stay at one and zero otherwise. Two things differ from the published code. It takes its tasks
one after the other and hands s on from each to the next; here they are trained side by side, each
from s = 0, as that code does too when it evaluates. And its mini-batches are random subsets of a
task's images; here they take the classes in turn (see `taking_turns`). ε is added to the
bias-corrected root, as in `torch.optim.Adam`.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from multistep.fewshot.batched import BatchedConv4, EpisodeLoss
from multistep.fewshot.episodes import Batch
from multistep.fewshot.meta import MetaGradient, Theta
from multistep.fewshot.settings import FewShot
from multistep.files import UserError
from multistep.inner.dynamics import Adam
from multistep.settings import Model, parse


class Options(Model):
    """Images per class of a training task, of a mini-batch in training and at test time, and β₂."""

    train_shots: int = Field(ge=1)
    inner_batch: int = Field(ge=1)
    test_batch: int = Field(ge=1)
    adam_beta2: float = Field(ge=0, lt=1)


def meta_gradient(network: BatchedConv4, theta: Theta, batch: Batch, s: FewShot) -> MetaGradient:
    """θ - φ summed over the tasks of `batch`; of the shared parameters it is zero.

    A task is the first `train_shots` of the `shots + queries` images of each class. The loss and
    accuracy are those of φ on the next image of each class, N in one batch.
    """
    o = parse(Options, s.options, "options.")
    if o.train_shots >= s.shots + s.queries:
        raise UserError(
            f"options.train_shots: {o.train_shots} leave none of the {s.shots} shots + {s.queries} "
            "queries of a class to report the accuracy on; lower it, or raise queries"
        )
    ways = network.config.ways
    images, labels = (
        torch.cat([support.unflatten(1, (ways, -1)), query.unflatten(1, (ways, -1))], 2)
        for support, query in (
            (batch.support_images, batch.query_images),
            (batch.support_labels, batch.query_labels),
        )
    )
    start = network.expand(theta.adapted, batch.tasks)
    phi, nbytes = train(
        network,
        Theta(start, theta.shared),
        images[:, :, : o.train_shots],
        labels[:, :, : o.train_shots],
        Adam(s.inner_lr, (0.0, o.adam_beta2)),
        steps=s.inner_steps,
        size=o.inner_batch,
    )
    held_out = EpisodeLoss(
        network, theta.shared, images[:, :, o.train_shots], labels[:, :, o.train_shots]
    )
    logits = held_out.logits(phi)
    return MetaGradient(
        adapted=network.sum_tasks(start - phi),
        shared=torch.zeros_like(theta.shared),
        loss=held_out.value(logits),
        accuracy=held_out.accuracy(logits),
        nbytes=nbytes,
    )


@torch.no_grad()
def adapt(network: BatchedConv4, theta: Theta, batch: Batch, s: FewShot, *, window: int) -> Tensor:
    """φ `[tasks·P]` after `test_steps` mini-batches of `test_batch` images of the support set.

    `window` has no meaning here: each step has a mini-batch of its own.
    """
    o = parse(Options, s.options, "options.")
    ways = network.config.ways
    start = network.expand(theta.adapted, batch.tasks)
    phi, _ = train(
        network,
        Theta(start, theta.shared),
        batch.support_images.unflatten(1, (ways, -1)),
        batch.support_labels.unflatten(1, (ways, -1)),
        Adam(s.inner_lr, (0.0, o.adam_beta2)),
        steps=s.test_steps,
        size=o.test_batch,
    )
    return phi


def train(
    network: BatchedConv4,
    start: Theta,
    images: Tensor,
    labels: Tensor,
    adam: Adam,
    *,
    steps: int,
    size: int,
) -> tuple[Tensor, int]:
    """φ `[tasks·P]` after `steps` mini-batches of `size` images, and the bytes that one keeps.

    `start`: adapted `[tasks·P]`, shared `[S]`. `images`, `labels`: `[tasks, ways, shots, ...]`.
    """
    params, state, nbytes = {"phi": start.adapted}, adam.init({"phi": start.adapted}), 0
    ways, shots = labels.shape[1:]
    classes, places = taking_turns(ways, shots, steps * size, labels.device)
    for c, i in zip(classes.split(size), places.split(size), strict=True):
        loss = EpisodeLoss(network, start.shared, images[:, c, i], labels[:, c, i])
        evaluation = loss.evaluate(params["phi"])
        params, state = adam.step(params, state, {"phi": evaluation.by_phi})
        nbytes = max(nbytes, evaluation.nbytes)
    return params["phi"], nbytes


def taking_turns(ways: int, shots: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The class and the place in it of `count` images, `[count]` each.

    In each round every class shows one image, and each round begins one class later; after `shots`
    rounds all images have been shown, and the classes' images meet in other combinations. Which
    image and which label comes where is random in each episode, so the order itself need not be: a
    fixed random one would let the same labels be the last in every task.
    """
    number = torch.arange(count, device=device)
    turn = number // ways
    classes = (number + turn) % ways
    return classes, (turn + (turn // shots) * classes) % shots
