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

from typing import TYPE_CHECKING

from pydantic import Field

from multistep.fewshot.algorithms import GRADIENT, Algorithm
from multistep.files import UserError
from multistep.settings import Model

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from multistep.fewshot.meta import MetaGradient, Tasks
    from multistep.fewshot.settings import FewShot


class Reptile(Algorithm):
    class Options(Model):
        """Images per class of a training task, of a mini-batch in training and in the test, and β₂.

        A training task is the first `train_shots` of the `shots + queries` images of each class.
        """

        train_shots: int = Field(ge=1)
        inner_batch: int = Field(ge=1)
        test_batch: int = Field(ge=1)
        adam_beta2: float = Field(ge=0, lt=1)

    options: Options

    def __init__(self, settings: FewShot) -> None:
        super().__init__(settings)
        if self.options.train_shots >= settings.shots + settings.queries:
            raise UserError(
                f"options.train_shots: {self.options.train_shots} leave none of the "
                f"{settings.shots} shots + {settings.queries} queries of a class to report the "
                "accuracy on; lower it, or raise queries"
            )

    def cost(self) -> float:
        trained = self.settings.inner_steps * self.options.inner_batch
        return GRADIENT * trained + self.settings.ways

    def meta_gradient(self, tasks: Tasks) -> MetaGradient:
        """θ - φ (eq. 17); of the shared parameters it is zero.

        Loss and accuracy are those of φ on the next image of each class, N in one batch.
        """
        import torch

        o, batch, by_class = self.options, tasks.batch, (self.settings.ways, -1)
        images, labels = (
            torch.cat([support.unflatten(1, by_class), query.unflatten(1, by_class)], 2)
            for support, query in (
                (batch.support_images, batch.query_images),
                (batch.support_labels, batch.query_labels),
            )
        )
        steps, start = self.settings.inner_steps, tasks.start()
        shots = o.train_shots
        task = images[:, :, :shots], labels[:, :, :shots]
        phi, nbytes = self.train(tasks, *task, steps, o.inner_batch)
        held_out = tasks.loss(images[:, :, shots], labels[:, :, shots])
        return tasks.total(start - phi, None, held_out.logits(phi), nbytes, held_out)

    def adapt(self, tasks: Tasks, window: int) -> Tensor:
        """φ `[tasks·P]` after `test_steps` mini-batches of `test_batch` images of the support set.

        `window` has no meaning here: each step has a mini-batch of its own.
        """
        batch, by_class = tasks.batch, (self.settings.ways, -1)
        images = batch.support_images.unflatten(1, by_class)
        labels = batch.support_labels.unflatten(1, by_class)
        steps, size = self.settings.test_steps, self.options.test_batch
        return self.train(tasks, images, labels, steps, size)[0]

    def train(
        self, tasks: Tasks, images: Tensor, labels: Tensor, steps: int, size: int
    ) -> tuple[Tensor, int]:
        """φ `[tasks·P]` after `steps` mini-batches of `size` images, and the bytes that one keeps.

        `images`, `labels`: `[tasks, ways, shots, ...]`.
        """
        from multistep.inner.dynamics import Adam

        adam = Adam(self.settings.inner_lr, (0.0, self.options.adam_beta2))
        params, nbytes = {"phi": tasks.start()}, 0
        state = adam.init(params)
        ways, shots = labels.shape[1:]
        classes, places = taking_turns(ways, shots, steps * size, labels.device)
        for c, i in zip(classes.split(size), places.split(size), strict=True):
            evaluation = tasks.loss(images[:, c, i], labels[:, c, i]).evaluate(params["phi"])
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
    import torch

    number = torch.arange(count, device=device)
    turn = number // ways
    classes = (number + turn) % ways
    return classes, (turn + (turn // shots) * classes) % shots
