"""Memory-reduced meta-learning (Yang, Ma and Yu 2025): the derivative of the inner optimum.

θ = (x, y₀), body and head. The bilevel problem is min over x of the tasks' mean f(x, y*(x)),

    y*(x) = argmin over y of g(x, y) = L_S(x, y) + (ρ/2)‖y‖²,    f = L_Q

and the update of one task, from the same random y₀ for every task,

    T times  y ← y - η ∂g/∂y
    v ≈ (∂²g/∂y²)⁻¹ ∂f/∂y,  by at most c conjugate gradients
    hypergradient  ∂f/∂x - ∂²g/∂x∂y v

y₀ is no meta-parameter: it gets a zero and stays as drawn. Nothing of the inner loop is kept.

Cost per task: one gradient on the support set and one on the query set, whatever T and c are, and T
gradients and c + 1 Hessian-vector products of the head on features. Memory: one support and one
query pass, as in the published code (yangxiaolin9527/RM-MetaL at 540042a), which holds both graphs;
it doesn't grow with T or c. With `scheme: replay` the support pass is made once more after the
query's, so that only the larger of the two is held: that saving is this project's, ANIL has the
same switch, and comparisons have it off for both.

The published code leaves ρ out, and then ∂²g/∂y² is singular: a constant added to all logits
changes nothing. It also runs the body again for every inner step, as `cache_features: false` does
here (the same numbers and the same memory, in more time).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from multistep.fewshot.algorithms import GRADIENT, Algorithm
from multistep.files import UserError
from multistep.settings import Model

if TYPE_CHECKING:
    from torch import Tensor

    from multistep.fewshot.meta import MetaGradient, Tasks
    from multistep.fewshot.settings import FewShot
    from multistep.inner.unroll import Objective


class MemoryReduced(Algorithm):
    class Options(Model):
        """`cg_steps`: c; a task stops at a residual of `cg_tolerance` times the right-hand side.
        `ridge`: ρ. `cache_features`: compute the support features once per inner loop, not per
        step.
        """

        cg_steps: int = Field(ge=1)
        cg_tolerance: float = Field(gt=0)
        ridge: float = Field(ge=0)
        cache_features: bool

    options: Options

    def __init__(self, settings: FewShot) -> None:
        super().__init__(settings)
        if settings.weight_decay:
            raise UserError(
                "weight_decay: must be 0 for memory_reduced, whose inner loop has to end where its "
                "loss g is least; set options.ridge, which is part of g, instead"
            )

    def cost(self) -> float:
        repeated = 0 if self.options.cache_features else self.settings.inner_steps
        support = (GRADIENT + self.replays + repeated) * self.support_images
        return support + GRADIENT * self.query_images

    def meta_gradient(self, tasks: Tasks) -> MetaGradient:
        """The hypergradient; zero for the head."""
        import torch

        from multistep.fewshot import head as heads

        o, inner, network, phi = self.options, tasks.support, tasks.network, tasks.start()
        once = heads.SupportPass(inner, phi, again=self.replays)
        loss = heads.HeadLoss(once.features, inner.targets, ridge=o.ridge)
        lower = loss if o.cache_features else heads.RepeatedBody(inner, phi, ridge=o.ridge)
        start = heads.read_head(network, phi, tasks.count)
        head, _ = self.inner_loop(lower, start, keep=False)
        query = tasks.query.evaluate(heads.write_head(network, phi, head))
        by_head = heads.read_head(network, query.by_phi, tasks.count)
        by_features = response(loss, head, by_head, o.cg_steps, o.cg_tolerance)
        by_phi, by_shared = once.backward(by_features)
        by_theta = heads.write_head(network, by_phi.add_(query.by_phi), torch.zeros_like(head))
        nbytes = loss.nbytes + once.nbytes + max(query.nbytes, once.rebuilt)
        return tasks.total(by_theta, by_shared.add_(query.by_shared), query.logits, nbytes)

    def adapt(self, tasks: Tasks, window: int) -> Tensor:
        """θ's body and the head after `test_steps` steps from y₀."""
        from multistep.fewshot.head import adapt_head

        return adapt_head(self, tasks, window, self.options.ridge)


def response(g: Objective, y: Tensor, by_y: Tensor, cg_steps: int, cg_tolerance: float) -> Tensor:
    """Derivative by x of ⟨y*(x), ∂f/∂y⟩ for every task: -∂²g/∂x∂y (∂²g/∂y²)⁻¹ ∂f/∂y at (x, y).

    It follows from ∂g/∂y(x, y*(x)) = 0, and is exact where y = y*(x) and the system is solved.
    `y`, `by_y`: `[tasks, ...]`; g's shared parameters are x.
    """
    from multistep.fewshot.conjugate_gradient import conjugate_gradient

    _, tape = g.gradient(y, keep=True)
    v = conjugate_gradient(
        lambda u: g.hessian_product(tape, u)[0], by_y, lambda a, b: (a * b).flatten(1).sum(1),
        lambda a, factors: a * factors.view(-1, *(1 for _ in y.shape[1:])), cg_steps,
        tolerance=cg_tolerance,
    )  # fmt: skip
    return -g.hessian_product(tape, v)[1]
