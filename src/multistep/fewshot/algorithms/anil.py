"""ANIL ("almost no inner loop", Raghu et al. 2020): the inner loop moves the head alone.

θ = (x, y₀), body and head. Inner loop of one task, T = K·n steps from y = y₀, v = 0 on the support
loss L_S(x, y), n steps per gradient (n = 1 is the method as published):

    for k = 1..K:  g = ∂L_S/∂y;  n times:  v ← μ v + g + ω y,  y ← y - η v
    meta-gradient  dL_Q(x, y_{T+1})/dθ, of x and of y₀, through every g

L_S sees x through the features of the support images only, and these stay as they are during the
inner loop: they are computed once, the derivatives by them are summed over the steps on the way
back, and the body is differentiated once.

Cost per task: one gradient on the support set and one on the query set, whatever T is, and K
gradients and Hessian-vector products of the head on features. Memory: the activations of one
support and one query pass; per step only the head and the support set's probabilities.

`cache_features: false` runs the body once more for every gradient and keeps its activations for
each, as published implementations do (that of Yang, Ma and Yu 2025, for one): the same numbers for
K gradients on the support set and memory that grows with K as MAML's.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from multistep.fewshot.batched import BatchedConv4, EpisodeLoss
from multistep.fewshot.episodes import Batch
from multistep.fewshot.head import HeadLoss, RepeatedBody, adapt_head, read_head, write_head
from multistep.fewshot.meta import MetaGradient, Theta, dynamics
from multistep.fewshot.settings import FewShot
from multistep.inner.unroll import Objective, unroll_vjp
from multistep.settings import Model

Pull = Callable[[Tensor], tuple[Tensor, Tensor]]


class Options(Model):
    """`cache_features`: compute the support features once per task, not once per gradient."""

    cache_features: bool


def meta_gradient(network: BatchedConv4, theta: Theta, batch: Batch, s: FewShot) -> MetaGradient:
    """The meta-gradient summed over the tasks of `batch`."""
    options = Options.model_validate(s.options)
    inner = EpisodeLoss(network, theta.shared, batch.support_images, batch.support_labels)
    outer = EpisodeLoss(network, theta.shared, batch.query_images, batch.query_labels)
    phi = network.expand(theta.adapted, batch.tasks)
    loss, pull, nbytes = _support(inner, phi, options)
    head, pullback = unroll_vjp(
        loss,
        read_head(network, phi, batch.tasks),
        dynamics(s),
        steps=s.inner_steps,
        window=s.window,
        recompute=s.scheme == "replay",
    )
    nbytes += pullback.nbytes
    query = outer.evaluate(write_head(network, phi, head))
    by_head, by_support = pullback(read_head(network, query.by_phi, batch.tasks))
    by_phi, by_shared = pull(by_support)
    by_theta = write_head(network, by_phi.add_(query.by_phi), by_head)
    return MetaGradient(
        adapted=network.sum_tasks(by_theta),
        shared=network.sum_tasks(by_shared.add_(query.by_shared), adapted=False),
        loss=outer.value(query.logits),
        accuracy=outer.accuracy(query.logits),
        nbytes=nbytes + max(query.nbytes, pullback.rebuilt),
    )


def adapt(network: BatchedConv4, theta: Theta, batch: Batch, s: FewShot, *, window: int) -> Tensor:
    """θ with its head adapted, `[tasks·P]`."""
    return adapt_head(network, theta, batch, s, window=window)


def _support(inner: EpisodeLoss, phi: Tensor, options: Options) -> tuple[Objective, Pull, int]:
    """The support loss of a head, the way from its mixed derivatives to those by φ and by shared,
    and the bytes that are kept for it.
    """
    if not options.cache_features:
        repeated = RepeatedBody(inner, phi)
        return repeated, repeated.split, 0
    features, saved = inner.body(phi)
    loss = HeadLoss(features, inner.targets)
    nbytes = inner.body_bytes(saved) + loss.nbytes
    return loss, lambda by_features: inner.body_backward(phi, saved, by_features), nbytes
