"""First-order MAML: the query gradient at the adapted parameters, every inner gradient a constant.

    meta-gradient  ∂L_Q(φ_{T+1})/∂φ  (eq. 16), applied to θ

With weight decay φ_{T+1} keeps a factor of θ (Lemma 1: c = 1 + ω b, one for all that adapts) even
with constant gradients; as in eq. 16 it is left out.

Cost per task: T gradients on the support set, one on the query set; memory is that of the larger of
a support and a query gradient and does not depend on T (Finn et al. 2017; the paper's appendix F:
vanilla SGD inside).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multistep.fewshot.algorithms import GRADIENT, Algorithm

if TYPE_CHECKING:
    from torch import Tensor

    from multistep.fewshot.batched import EpisodeLoss
    from multistep.fewshot.meta import MetaGradient, Tasks


class FirstOrder(Algorithm):
    def cost(self) -> float:
        return GRADIENT * (self.windows * self.support_images + self.query_images)

    def meta_gradient(self, tasks: Tasks) -> MetaGradient:
        support = _Noted(tasks.support)
        phi, _ = self.inner_loop(support, tasks.start(), keep=False)
        query = tasks.query.evaluate(phi)
        nbytes = max(query.nbytes, support.nbytes)
        return tasks.total(query.by_phi, query.by_shared, query.logits, nbytes)


class _Noted:
    """An inner objective that notes the bytes that its last gradient held."""

    def __init__(self, loss: EpisodeLoss) -> None:
        self.loss, self.nbytes = loss, 0

    def gradient(self, phi: Tensor, *, keep: bool) -> tuple[Tensor, Any]:
        found = self.loss.evaluate(phi, keep=keep)
        self.nbytes = found.nbytes
        return found.by_phi, found.tape

    def hessian_product(self, tape: Any, direction: Tensor) -> tuple[Tensor, Tensor]:
        return self.loss.hessian_product(tape, direction)
