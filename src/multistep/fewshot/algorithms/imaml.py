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
them; damping keeps away from them. The published code (aravindr93/imaml_dev at 6a2a669, its
`matrix_evaluator`) solves (1 + 1) I + H/(λ + 10) instead, with ε = 1e-3 in its outer Adam. Damped
like that the direction is the first-order one at the same φ to a cosine of 0.9993 (Omniglot, 5-way
1-shot; 0.9995 after 25 iterations): what is left is first-order MAML after a proximal step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from multistep.fewshot.algorithms import GRADIENT, PRODUCT, Algorithm
from multistep.settings import Model

if TYPE_CHECKING:
    from torch import Tensor

    from multistep.fewshot.meta import MetaGradient, Tasks
    from multistep.inner.unroll import Objective


class IMAML(Algorithm):
    class Options(Model):
        """`prox`: λ. `prox_steps` last: T steps on L_S alone, then one on the proximal term alone,
        as the published code has it. The operator is (1 + `damping`) I + H/(λ + `prox_damping`);
        both zero are the text's. `test_prox`: whether the inner problem has its proximal term at
        test time too.
        """

        prox: float = Field(gt=0)
        prox_steps: Literal["every", "last"]
        cg_steps: int = Field(ge=1)
        damping: float = Field(ge=0)
        prox_damping: float = Field(ge=0)
        test_prox: bool

    options: Options
    own_steps = True

    def cost(self) -> float:
        shared = 0 if self.settings.network.adapt_bn else 1
        gradients = GRADIENT * (self.settings.inner_steps + 1)
        support = gradients + PRODUCT * (self.options.cg_steps + shared)
        return support * self.support_images + GRADIENT * self.query_images

    def meta_gradient(self, tasks: Tasks) -> MetaGradient:
        o, steps = self.options, self.settings.inner_steps
        phi = self.descend(tasks.support, tasks.start(), steps, o.prox)
        query = tasks.query.evaluate(phi)
        _, tape = tasks.support.gradient(phi, keep=True)
        assert tape is not None
        x, mixed = self.solve(tasks, tape, query.by_phi)
        nbytes = max(query.nbytes, tape.nbytes)
        by_shared = query.by_shared - mixed / (o.prox + o.prox_damping)
        return tasks.total(x, by_shared, query.logits, nbytes)

    def adapt(self, tasks: Tasks, window: int) -> Tensor:
        """φ `[tasks·P]` after `test_steps` steps; `window` has no meaning here."""
        prox = self.options.prox if self.options.test_prox else 0.0
        return self.descend(tasks.support, tasks.start(), self.settings.test_steps, prox)

    def descend(self, loss: Objective, theta: Tensor, steps: int, prox: float) -> Tensor:
        """φ `[tasks·P]` after gradient steps on loss(φ) + prox/2 ‖φ - θ‖² from θ."""
        phi, lr = theta, self.settings.inner_lr
        last = self.options.prox_steps == "last"
        for _ in range(steps):
            gradient, _ = loss.gradient(phi, keep=False)
            phi = phi - lr * gradient.add_(phi - theta, alpha=0.0 if last else prox)
        return phi.lerp(theta, lr * prox) if last else phi

    def solve(self, tasks: Tasks, tape: Any, b: Tensor) -> tuple[Tensor, Tensor]:
        """The x of the damped (I + H/λ) x = b, per task, and ∂²L_S/∂shared∂φ x `[tasks·S]`."""
        from multistep.fewshot.conjugate_gradient import conjugate_gradient

        network, loss, o = tasks.network, tasks.support, self.options

        def product(v: Tensor) -> Tensor:
            hessian, _ = loss.hessian_product(tape, v)
            return hessian.div_(o.prox + o.prox_damping).add_(v, alpha=1 + o.damping)

        x = conjugate_gradient(product, b, network.task_dot, network.task_scale, o.cg_steps)
        mixed = loss.hessian_product(tape, x)[1] if network.shared_size else x.new_empty(0)
        return x, mixed
