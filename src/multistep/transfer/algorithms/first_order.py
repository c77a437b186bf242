"""First-order ablation (section 5.1): θ's direct gradient at the end of the inner loop.

    φ_{T+2} from the inner loop of `bilevel`, without a graph
    meta-gradient  ∂(L_acc + β L_tfr)(φ_{T+2}; θ)/∂θ, φ_{T+2} a constant (eq. 16)

The accuracy loss doesn't contain θ, so the direct gradient needs the transfer loss in the outer
objective; it can only make transfer easier, not more useful. Cost: K + 1 gradients and two forward
passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multistep.transfer.algorithms import GRADIENT, Algorithm
from multistep.transfer.settings import Transfer

if TYPE_CHECKING:
    from multistep.inner.dynamics import State, Tensors
    from multistep.transfer.inner import Losses, MetaGradient


class FirstOrder(Algorithm):
    settings: Transfer

    def cost(self) -> float:
        windows = self.settings.inner_steps // self.settings.window
        return GRADIENT * (1 + windows + 1) + 2

    def meta_gradient(
        self, losses: Losses, theta: Tensors, phi: Tensors, state: State, lr: float
    ) -> MetaGradient:
        import torch

        from multistep.transfer.inner import Drift, MetaGradient, gradients, inner_loop, masked

        drift = Drift()
        with torch.no_grad():
            end, last = inner_loop(losses, phi, state, lr, self.settings, watch=drift)
            accuracy = losses.accuracy(end)
        transfer = self.settings.beta * losses.transfer(end)
        grads = gradients(transfer, theta)
        return MetaGradient(grads, (accuracy + transfer).detach(), drift.value, masked(last))
