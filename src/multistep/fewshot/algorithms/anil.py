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
support and one query pass; per step only the head and the support set's probabilities. With
`scheme: replay` the support pass is made once more after the query's, so that only the larger of
the two is held; memory-reduced meta-learning has the same switch, off by default for both.

`cache_features: false` runs the body once more for every gradient and keeps its activations for
each, as published implementations do (that of Yang, Ma and Yu 2025, for one): the same numbers for
K gradients on the support set and memory that grows with K as MAML's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multistep.fewshot.algorithms import GRADIENT, Algorithm
from multistep.settings import Model

if TYPE_CHECKING:
    from torch import Tensor

    from multistep.fewshot.meta import MetaGradient, Tasks


class Anil(Algorithm):
    class Options(Model):
        """`cache_features`: compute the support features once per task, not once per gradient."""

        cache_features: bool

    options: Options

    def cost(self) -> float:
        passes = (GRADIENT + self.replays) * (1 if self.options.cache_features else self.windows)
        return passes * self.support_images + GRADIENT * self.query_images

    def meta_gradient(self, tasks: Tasks) -> MetaGradient:
        from multistep.fewshot import head as heads

        network, inner, phi = tasks.network, tasks.support, tasks.start()
        start, once = heads.read_head(network, phi, tasks.count), None
        if self.options.cache_features:
            once = heads.SupportPass(inner, phi, again=self.replays)
            loss = heads.HeadLoss(once.features, inner.targets)
            head, pullback = self.inner_loop(loss, start)
            kept = once.nbytes + loss.nbytes + pullback.nbytes
        else:
            repeated = heads.RepeatedBody(inner, phi)
            head, pullback = self.inner_loop(repeated, start)
            kept = pullback.nbytes
        query = tasks.query.evaluate(heads.write_head(network, phi, head))
        by_head, by_support = pullback(heads.read_head(network, query.by_phi, tasks.count))
        by_phi, by_shared = once.backward(by_support) if once else repeated.split(by_support)
        by_theta = heads.write_head(network, by_phi.add_(query.by_phi), by_head)
        nbytes = kept + max(query.nbytes, pullback.rebuilt, once.rebuilt if once else 0)
        return tasks.total(by_theta, by_shared.add_(query.by_shared), query.logits, nbytes)

    def adapt(self, tasks: Tasks, window: int) -> Tensor:
        """θ with its head adapted."""
        from multistep.fewshot.head import adapt_head

        return adapt_head(self, tasks, window)
