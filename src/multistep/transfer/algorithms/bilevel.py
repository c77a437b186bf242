"""L2T-ww and Multi-step (section 5.1): the gradient of the accuracy loss through the inner loop.

    φ₁, o₁ from the ordinary update; T = K·n times  (φ, o) ← Φ(φ, o; ∇ β L_tfr(φ; θ)), the gradient
    evaluated K times and reused for n steps;  (φ, o) ← Φ(φ, o; ∇ L_acc(φ))
    meta-gradient  dL_acc(φ_{T+2})/dθ, all on the same mini-batch (Algorithm 1, eq. 12)

n = 1 is the earlier work's exact gradient. In forward-equivalents of the target network, with
graphs kept: 9 for the accuracy step, 3 for the outer loss, 5 for the first window (only its mixed
derivative is needed, since φ₁ is a constant), 9 for every further one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multistep.transfer.algorithms import DIFFERENTIATED, GRADIENT, MIXED, Algorithm
from multistep.transfer.settings import Transfer

if TYPE_CHECKING:
    from multistep.inner.dynamics import State, Tensors
    from multistep.transfer.inner import Losses, MetaGradient


class Bilevel(Algorithm):
    settings: Transfer

    def cost(self) -> float:
        windows = self.settings.inner_steps // self.settings.window
        again = GRADIENT if self.settings.scheme == "replay" else 0
        if not windows and not again:
            return 2 * GRADIENT + 1  # θ is out of reach, so nothing is differentiated twice
        inner = again + MIXED + (windows - 1) * (again + DIFFERENTIATED) if windows else 0
        return GRADIENT + inner + again + DIFFERENTIATED + GRADIENT

    def meta_gradient(
        self, losses: Losses, theta: Tensors, phi: Tensors, state: State, lr: float
    ) -> MetaGradient:
        """With T = 0 it reaches no parameter."""
        from multistep.transfer.inner import Drift, MetaGradient, gradients, inner_loop, masked

        drift = Drift()
        end, last = inner_loop(losses, phi, state, lr, self.settings, watch=drift)
        loss = losses.accuracy(end)
        return MetaGradient(gradients(loss, theta), loss.detach(), drift.value, masked(last))
