"""First-order MAML: the query gradient at the adapted parameters, every inner gradient a constant.

    meta-gradient  ∂L_Q(φ_{T+1})/∂φ  (eq. 16), applied to θ

Cost per task: T gradients on the support set, one on the query set; memory does not depend on T
(Finn et al. 2017; the paper's appendix F: vanilla SGD inside).
"""

from __future__ import annotations

from multistep.fewshot.batched import BatchedConv4, EpisodeLoss
from multistep.fewshot.episodes import Batch
from multistep.fewshot.meta import MetaGradient, Theta, adapt_windows, dynamics
from multistep.fewshot.settings import FewShot
from multistep.inner.unroll import unroll_vjp

adapt = adapt_windows


def meta_gradient(network: BatchedConv4, theta: Theta, batch: Batch, s: FewShot) -> MetaGradient:
    """The first-order meta-gradient summed over the tasks of `batch`."""
    inner = EpisodeLoss(network, theta.shared, batch.support_images, batch.support_labels)
    outer = EpisodeLoss(network, theta.shared, batch.query_images, batch.query_labels)
    phi = network.expand(theta.adapted, batch.tasks)
    phi, _ = unroll_vjp(inner, phi, dynamics(s), steps=s.inner_steps, window=s.window, keep=False)
    query = outer.evaluate(phi)
    return MetaGradient(
        adapted=network.sum_tasks(query.by_phi),
        shared=network.sum_tasks(query.by_shared, adapted=False),
        loss=outer.value(query.logits),
        accuracy=outer.accuracy(query.logits),
        nbytes=query.nbytes,
    )
