"""Reptile: θ moves towards the parameters in which ordinary training on a task ends.

Training on one task, T steps of Adam without its mean (β₁ = 0) from φ = θ on mini-batches B:

    g = ∇L_B(φ),  s ← β₂ s + (1 - β₂) g²,  t ← t + 1,  φ ← φ - η g / (√(s / (1 - β₂ᵗ)) + ε)
    "meta-gradient"  θ - φ  (eq. 17), so that SGD with the rate ε_k takes  θ ← θ + ε_k mean(φ - θ)

Cost per task: T gradients of one mini-batch and nothing else, no second order and no query set;
memory is that of one gradient and depends neither on T nor on the shots (Nichol, Achiam and
Schulman 2018, algorithm 1 and section 6).

As in the published code (openai/supervised-reptile at 8f2b71c, `Reptile.train_step` and `evaluate`)
s and t are handed on from task to task and never begin anew: between tasks only the weights are put
back, and the test adapts from the trained s and t, which it then puts back. So the tasks of a
meta-batch are trained one after the other. `moments: fresh` gives each task s = 0, t = 0, and then
they are trained side by side: after 100 meta-iterations with ε = 1 on Omniglot, 5-way 1-shot, the
accuracy (mean of three seeds, 150 episodes each, ± 1.7) is 58.8 % instead of 64.2 %. A mini-batch
is the next few images of the task in random order; when all have been shown they are shuffled anew
(`_mini_batches` there). `batches: turns` is this project's older order, see `taking_turns`.

Only adapted parameters can move: γ and β are learned if `network.adapt_bn` is true, as published,
and stay at one and zero otherwise. In the algorithm one thing differs from the published code: ε is
added to the bias-corrected root, as in `torch.optim.Adam`; TensorFlow adds it to √s.

Around it this project has the same network, images and test for every method. Tried one by one in
a port of the published code (one seed, 100 or 200 episodes), after 100 meta-iterations: the
published network (a Glorot head on the flattened 2×2×64, ε 1e-3 in batch norm) has 61.9 ± 2.1 %,
this project's 62.9 ± 2.1; test characters that are turned or not, 62.7 ± 1.9 and 61.9; one query a
class, as published, 67.9 ± 2.9 instead of 61.9 with 15; dark strokes on white 68.7 ± 2.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from multistep.fewshot.algorithms import GRADIENT, Algorithm
from multistep.files import UserError
from multistep.settings import Model

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from multistep.fewshot.meta import MetaGradient, Tasks
    from multistep.fewshot.settings import FewShot

EPSILON = 1e-8  # of Adam


class Reptile(Algorithm):
    class Options(Model):
        """Images per class of a training task, of a mini-batch in training and in the test, and β₂.

        A training task is the first `train_shots` of the `shots + queries` images of each class.
        `moments`: whether s and t are carried from task to task or begin anew with each.
        """

        train_shots: int = Field(ge=1)
        inner_batch: int = Field(ge=1)
        test_batch: int = Field(ge=1)
        adam_beta2: float = Field(ge=0, lt=1)
        moments: Literal["carried", "fresh"]
        batches: Literal["shuffled", "turns"]

    options: Options
    own_steps = True

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

    def carried(self, size: int, device: torch.device) -> dict[str, Tensor]:
        """S `[P]` and t, both zero; nothing if each task has its own."""
        import torch

        if self.options.moments == "fresh":
            return {}
        return {
            "variance": torch.zeros(size, device=device),
            "steps": torch.zeros((), dtype=torch.float64, device=device),
        }

    def meta_gradient(self, tasks: Tasks) -> MetaGradient:
        """Loss and accuracy are those of φ on the next image of each class, N in one batch."""
        from dataclasses import replace

        import torch

        o, batch, by_class = self.options, tasks.batch, (self.settings.ways, -1)
        images, labels = (
            torch.cat([support.unflatten(1, by_class), query.unflatten(1, by_class)], 2)
            for support, query in (
                (batch.support_images, batch.query_images),
                (batch.support_labels, batch.query_labels),
            )
        )
        shots, steps = o.train_shots, self.settings.inner_steps
        task = images[:, :, :shots].flatten(1, 2), labels[:, :, :shots].flatten(1, 2)
        phi, carried, nbytes = self.train(tasks, *task, steps, o.inner_batch)
        held_out = tasks.loss(images[:, :, shots], labels[:, :, shots])
        logits = held_out.logits(phi)
        found = tasks.total(tasks.start() - phi, None, logits, nbytes, held_out)
        return replace(found, carried=carried)

    def adapt(self, tasks: Tasks, window: int) -> Tensor:
        """φ `[tasks·P]` after `test_steps` mini-batches of `test_batch` images of the support set.

        `window` has no meaning here: each step has a mini-batch of its own.
        """
        batch, steps, size = tasks.batch, self.settings.test_steps, self.options.test_batch
        return self.train(tasks, batch.support_images, batch.support_labels, steps, size)[0]

    def train(
        self, tasks: Tasks, images: Tensor, labels: Tensor, steps: int, size: int
    ) -> tuple[Tensor, dict[str, Tensor], int]:
        """φ `[tasks·P]` after `steps` mini-batches of `size` images, what is carried on from there,
        and the bytes that a mini-batch keeps. `images`, `labels`: `[tasks, images, ...]`.
        """
        import torch

        network, beta2 = tasks.network, self.options.adam_beta2
        phi, nbytes, carried = tasks.start(), 0, tasks.theta.carried
        zero = torch.zeros_like(tasks.theta.adapted)
        variance = network.expand(carried.get("variance", zero), tasks.count)
        count = carried.get("steps", zero.new_zeros((), dtype=torch.float64))
        task = torch.arange(tasks.count, device=labels.device).unsqueeze(1)
        shown = steps * size
        if self.options.batches == "turns":
            order = taking_turns(self.settings.ways, labels[0], shown)
            order = order.expand(tasks.count, -1)
        else:
            order = shuffled(tasks.batch.seeds, labels.shape[1], shown)
        for places in order.split(size, 1):
            loss = tasks.loss(images[task, places], labels[task, places])
            evaluation = loss.evaluate(phi)
            g, nbytes = evaluation.by_phi, max(nbytes, evaluation.nbytes)
            variance.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            count = count + 1
            root = (variance / (1 - beta2**count)).sqrt_().add_(EPSILON)
            phi = torch.addcdiv(phi, g, root, value=-self.settings.inner_lr)
        if carried:  # of a single task
            carried = {"variance": network.sum_tasks(variance), "steps": count}
        return phi, carried, nbytes


def shuffled(seeds: Tensor, images: int, count: int) -> Tensor:
    """The first `count` of a task's images in random order, pass after pass, `[tasks, count]`.

    `seeds` `[tasks]`. A counter is mixed with the seed (the finaliser of SplitMix64, Steele, Lea
    and Flood 2014), so the order is the same on every device and a CUDA graph can hold the drawing.
    """
    import torch

    passes = -(-count // images)
    counter = torch.arange(passes * images, device=seeds.device).view(passes, images)
    x = seeds.view(-1, 1, 1) + (counter + 1) * -0x61C8864680B583EB
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        x = (x ^ ((x >> shift) & (2 ** (64 - shift) - 1))) * factor
    x = x ^ ((x >> 31) & (2**33 - 1))
    return x.argsort(2).flatten(1)[:, :count]


def taking_turns(ways: int, labels: Tensor, count: int) -> Tensor:
    """The places of `count` of a task's images, class after class, `[count]`.

    `labels` `[images]`, class by class: of all `ways` and as many of each in an episode; else those
    there are, from 0 on. In each round every class shows one image, and each round begins one class
    later; after as many rounds as a class has images all of them have been shown, and they meet in
    other combinations.
    """
    import torch

    counts = (labels.unsqueeze(1) == torch.arange(ways, device=labels.device)).sum(0)
    present, begins = (counts > 0).sum(), counts.cumsum(0) - counts
    number = torch.arange(count, device=labels.device)
    turn = number // present
    classes = (number + turn) % present
    own = counts[classes]
    return begins[classes] + (turn + (turn // own) * classes) % own
