"""Implicit MAML: the meta-gradient of the solution of a regularised inner problem, not of its path.

Update of one task with the proximal strength λ:

    φ* ≈ argmin L_S(φ) + λ/2 ‖φ - θ‖²:   T times  φ ← φ - η (∇L_S(φ) + λ (φ - θ))
    meta-gradient  x  with  (I + H/λ) x = ∇L_Q(φ*),  H = ∂²L_S/∂φ²(φ*),  by c conjugate gradients

(Rajeswaran, Finn, Kakade and Levine 2019, lemma 1 and algorithms 1 and 2). It follows from
∇L_S(φ*) + λ (φ* - θ) = 0, which gives dφ*/dθ = (I + H/λ)⁻¹. Parameters that all tasks share (γ and
β where they are not adapted) enter L_S too, so the same equation gives them the meta-gradient

    ∂L_Q/∂shared - (1/λ) ∂²L_S/∂shared∂φ x

Cost per task: T + 1 gradients and c Hessian-vector products on the support set (c + 1 if there are
shared parameters), one gradient on the query set; memory is that of the larger of the query
gradient and one support gradient with its tape, and does not depend on T.

With batch norm H is indefinite; a task stops at a direction of no positive curvature of I + H/λ
(`multistep.fewshot.conjugate_gradient`). Directions of hardly any are worse, since x is large along
them; damping keeps away from them, at the price of a meta-gradient nearer to the first-order one.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from multistep.fewshot.batched import BatchedConv4, EpisodeLoss
from multistep.fewshot.conjugate_gradient import conjugate_gradient
from multistep.fewshot.episodes import Batch
from multistep.fewshot.meta import MetaGradient, Theta
from multistep.fewshot.settings import FewShot
from multistep.inner.unroll import Objective
from multistep.settings import Model, parse


class Options(Model):
    """`prox`: λ. `prox_steps` last: T steps on L_S alone, then one on the proximal term alone, as
    the published code has it. `damping` δ: the operator is (1 + δ) I + H/λ; the published code's
    2 I + H/(λ + 10) is a multiple of it with 1 + δ = 2 (λ + 10)/λ. `test_prox`: whether the inner
    problem has its proximal term at test time too.
    """

    prox: float = Field(gt=0)
    prox_steps: Literal["every", "last"]
    cg_steps: int = Field(ge=1)
    damping: float = Field(ge=0)
    test_prox: bool


def meta_gradient(network: BatchedConv4, theta: Theta, batch: Batch, s: FewShot) -> MetaGradient:
    """The implicit meta-gradient summed over the tasks of `batch`."""
    o = parse(Options, s.options, "options.")
    inner = EpisodeLoss(network, theta.shared, batch.support_images, batch.support_labels)
    outer = EpisodeLoss(network, theta.shared, batch.query_images, batch.query_labels)
    start = network.expand(theta.adapted, batch.tasks)
    phi = descend(inner, start, o, steps=s.inner_steps, lr=s.inner_lr, prox=o.prox)
    query = outer.evaluate(phi)
    _, tape = inner.gradient(phi, keep=True)
    assert tape is not None
    x, mixed = solve(network, inner, tape, query.by_phi, o)
    return MetaGradient(
        adapted=network.sum_tasks(x),
        shared=network.sum_tasks(query.by_shared - mixed / o.prox, adapted=False),
        loss=outer.value(query.logits),
        accuracy=outer.accuracy(query.logits),
        nbytes=max(query.nbytes, tape.nbytes),
    )


@torch.no_grad()
def adapt(network: BatchedConv4, theta: Theta, batch: Batch, s: FewShot, *, window: int) -> Tensor:
    """φ `[tasks·P]` after `test_steps` steps on the support sets. `window` has no meaning here."""
    o = parse(Options, s.options, "options.")
    inner = EpisodeLoss(network, theta.shared, batch.support_images, batch.support_labels)
    start = network.expand(theta.adapted, batch.tasks)
    prox = o.prox if o.test_prox else 0.0
    return descend(inner, start, o, steps=s.test_steps, lr=s.inner_lr, prox=prox)


def descend(
    loss: Objective, theta: Tensor, o: Options, *, steps: int, lr: float, prox: float
) -> Tensor:
    """φ `[tasks·P]` after gradient steps on loss(φ) + prox/2 ‖φ - θ‖² from θ."""
    phi, every = theta, prox if o.prox_steps == "every" else 0.0
    for _ in range(steps):
        gradient, _ = loss.gradient(phi, keep=False)
        phi = phi - lr * gradient.add_(phi - theta, alpha=every)
    return phi if o.prox_steps == "every" else torch.lerp(phi, theta, lr * prox)


def solve(
    network: BatchedConv4, loss: Objective, tape: Any, b: Tensor, o: Options
) -> tuple[Tensor, Tensor]:
    """The x of ((1 + δ) I + H/λ) x = b for each task, and ∂²loss/∂shared∂φ x `[tasks·S]`."""

    def product(v: Tensor) -> Tensor:
        hessian, _ = loss.hessian_product(tape, v)
        return hessian.div_(o.prox).add_(v, alpha=1 + o.damping)

    x = conjugate_gradient(product, b, network.task_dot, network.task_scale, o.cg_steps)
    mixed = loss.hessian_product(tape, x)[1] if network.shared_size else x.new_empty(0)
    return x, mixed
