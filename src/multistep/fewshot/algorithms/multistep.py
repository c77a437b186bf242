"""MAML and Multi-step(n): the meta-gradient through the whole inner loop, estimated in windows.

Update of one task, T = K·n inner steps from φ₁ = θ, v₁ = 0 on the support loss L_S:

    for k = 1..K:  g = ∇L_S(φ);  n times:  v ← μ v + g + ω φ,  φ ← φ - η v     (eq. 5 and 11)
    meta-gradient  dL_Q(φ_{T+1})/dθ, through every g                          (eq. 12 and 13)

n = 1 is MAML (eq. 10). Cost per task: K gradients and K Hessian-vector products on the support
set, one gradient on the query set; memory grows with K = T/n (Kim, Park and Choi 2020, section 3).
With `scheme: replay` only φ at the window starts is kept, and each gradient is evaluated once more
on the way back: the same numbers to rounding, in memory that grows only by one φ per window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multistep.fewshot.algorithms import GRADIENT, PRODUCT, Algorithm

if TYPE_CHECKING:
    from multistep.fewshot.meta import MetaGradient, Tasks


class MultiStep(Algorithm):
    def cost(self) -> float:
        gradients = GRADIENT * (1 + self.replays)
        support = self.windows * (gradients + PRODUCT) * self.support_images
        return support + GRADIENT * self.query_images

    def meta_gradient(self, tasks: Tasks) -> MetaGradient:
        phi, pullback = self.inner_loop(tasks.support, tasks.start())
        query = tasks.query.evaluate(phi)
        by_theta, mixed = pullback(query.by_phi)
        nbytes = pullback.nbytes + max(query.nbytes, pullback.rebuilt)
        return tasks.total(by_theta, query.by_shared + mixed, query.logits, nbytes)
