"""MAML and Multi-step(n): the meta-gradient through the whole inner loop, estimated in windows.

Update of one task, T = K·n inner steps from φ₁ = θ, v₁ = 0 on the support loss L_S:

    for k = 1..K:  g = ∇L_S(φ);  n times:  v ← μ v + g + ω φ,  φ ← φ - η v
    meta-gradient  dL_Q(φ_{T+1})/dθ, through every g (eq. 12 and 13)

n = 1 is MAML (eq. 10). Cost per task: K gradients and K Hessian-vector products on the support
set, one gradient on the query set; memory grows with K = T/n (Kim, Park and Choi 2020, section 3).
With `scheme: replay` only φ at the window starts is kept, and each gradient is evaluated once more
on the way back: the same numbers to rounding, in memory that grows only by one φ per window.
"""

from __future__ import annotations

from multistep.fewshot.batched import BatchedConv4, EpisodeLoss
from multistep.fewshot.episodes import Batch
from multistep.fewshot.meta import MetaGradient, Theta, adapt_windows, dynamics
from multistep.fewshot.settings import FewShot
from multistep.inner.unroll import unroll_vjp

adapt = adapt_windows


def meta_gradient(network: BatchedConv4, theta: Theta, batch: Batch, s: FewShot) -> MetaGradient:
    """The meta-gradient summed over the tasks of `batch`."""
    inner = EpisodeLoss(network, theta.shared, batch.support_images, batch.support_labels)
    outer = EpisodeLoss(network, theta.shared, batch.query_images, batch.query_labels)
    phi = network.expand(theta.adapted, batch.tasks)
    phi, pullback = unroll_vjp(
        inner,
        phi,
        dynamics(s),
        steps=s.inner_steps,
        window=s.window,
        recompute=s.scheme == "replay",
    )
    query = outer.evaluate(phi)
    by_theta, mixed = pullback(query.by_phi)
    return MetaGradient(
        adapted=network.sum_tasks(by_theta),
        shared=network.sum_tasks(query.by_shared + mixed, adapted=False),
        loss=outer.value(query.logits),
        accuracy=outer.accuracy(query.logits),
        nbytes=pullback.nbytes + max(query.nbytes, pullback.rebuilt),
    )
