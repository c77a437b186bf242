"""Memory-reduced meta-learning (Yang, Ma and Yu 2025): the derivative of the inner optimum.

θ = (x, y₀), body and head. The bilevel problem is min over x of the tasks' mean f(x, y*(x)),

    y*(x) = argmin over y of g(x, y) = L_S(x, y) + (ρ/2)‖y‖²,    f = L_Q

and the update of one task, from the same random y₀ for every task,

    T times  y ← y - η ∂g/∂y
    v ≈ (∂²g/∂y²)⁻¹ ∂f/∂y,  by at most c conjugate gradients
    hypergradient  ∂f/∂x - ∂²g/∂x∂y v

y₀ is no meta-parameter: it gets a zero and stays as drawn. Nothing of the inner loop is kept.

Cost per task: one forward pass and one gradient on the support set and one gradient on the query
set, whatever T and c are, and T gradients and c + 1 Hessian-vector products of the head on
features. Memory: the larger of one support and one query pass, since the support pass that is
differentiated comes after the query's. It doesn't grow with T or c.

The published code leaves ρ out, and then ∂²g/∂y² is singular: a constant added to all logits
changes nothing. It also runs the body again for every inner step, as `cache_features: false` does
here (the same numbers and the same memory, in more time).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from multistep.fewshot.batched import BatchedConv4, EpisodeLoss
from multistep.fewshot.conjugate_gradient import conjugate_gradient
from multistep.fewshot.episodes import Batch
from multistep.fewshot.head import HeadLoss, RepeatedBody, adapt_head, read_head, write_head
from multistep.fewshot.meta import MetaGradient, Theta, dynamics
from multistep.fewshot.settings import FewShot
from multistep.files import UserError
from multistep.inner.dynamics import SGD
from multistep.inner.unroll import Objective, unroll_vjp
from multistep.settings import Model


class Options(Model):
    """`cg_steps`: c; a task stops at a residual of `cg_tolerance` times the right-hand side.
    `ridge`: ρ. `cache_features`: compute the support features once per inner loop, not per step.
    """

    cg_steps: int = Field(ge=1)
    cg_tolerance: float = Field(gt=0)
    ridge: float = Field(ge=0)
    cache_features: bool


def meta_gradient(network: BatchedConv4, theta: Theta, batch: Batch, s: FewShot) -> MetaGradient:
    """The hypergradient summed over the tasks of `batch`; zero for the head."""
    options = _options(s)
    inner = EpisodeLoss(network, theta.shared, batch.support_images, batch.support_labels)
    outer = EpisodeLoss(network, theta.shared, batch.query_images, batch.query_labels)
    phi = network.expand(theta.adapted, batch.tasks)
    loss = HeadLoss(inner.body(phi)[0], inner.targets, ridge=options.ridge)
    repeated = RepeatedBody(inner, phi, ridge=options.ridge)
    head = solve_lower(
        loss if options.cache_features else repeated,
        read_head(network, phi, batch.tasks),
        dynamics(s),
        steps=s.inner_steps,
        window=s.window,
    )
    query = outer.evaluate(write_head(network, phi, head))
    by_head = read_head(network, query.by_phi, batch.tasks)
    by_features = response(loss, head, by_head, options.cg_steps, options.cg_tolerance)
    _, saved = inner.body(phi)
    by_phi, by_shared = inner.body_backward(phi, saved, by_features)
    by_theta = write_head(network, by_phi.add_(query.by_phi), torch.zeros_like(head))
    return MetaGradient(
        adapted=network.sum_tasks(by_theta),
        shared=network.sum_tasks(by_shared.add_(query.by_shared), adapted=False),
        loss=outer.value(query.logits),
        accuracy=outer.accuracy(query.logits),
        nbytes=loss.nbytes + max(query.nbytes, phi.nbytes + inner.body_bytes(saved)),
    )


def adapt(network: BatchedConv4, theta: Theta, batch: Batch, s: FewShot, *, window: int) -> Tensor:
    """θ's body and the head after `test_steps` steps from y₀ `[tasks·P]`."""
    return adapt_head(network, theta, batch, s, window=window, ridge=_options(s).ridge)


def solve_lower(g: Objective, start: Tensor, inner: SGD, *, steps: int, window: int = 1) -> Tensor:
    """Take `steps` steps on g(x, ·) from y = `start` `[tasks, ...]` and keep nothing of them."""
    return unroll_vjp(g, start, inner, steps=steps, window=window, keep=False)[0]


def response(g: Objective, y: Tensor, by_y: Tensor, cg_steps: int, cg_tolerance: float) -> Tensor:
    """Derivative by x of ⟨y*(x), ∂f/∂y⟩ for every task: -∂²g/∂x∂y (∂²g/∂y²)⁻¹ ∂f/∂y at (x, y).

    It follows from ∂g/∂y(x, y*(x)) = 0, and is exact where y = y*(x) and the system is solved.
    `y`, `by_y`: `[tasks, ...]`; g's shared parameters are x.
    """
    _, tape = g.gradient(y, keep=True)
    v = conjugate_gradient(
        lambda u: g.hessian_product(tape, u)[0],
        by_y,
        lambda a, b: (a * b).flatten(1).sum(1),
        lambda a, factors: a * factors.view(-1, *(1 for _ in y.shape[1:])),
        cg_steps,
        tolerance=cg_tolerance,
    )
    return -g.hessian_product(tape, v)[1]


def _options(s: FewShot) -> Options:
    if s.weight_decay:
        raise UserError(
            "memory_reduced: weight_decay must be 0: the inner loop has to end where its loss g is "
            "least; set options.ridge, which is part of g, instead"
        )
    return Options.model_validate(s.options)
