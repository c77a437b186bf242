"""First-order ablation (section 5.1): θ's direct gradient at the end of the inner loop.

    φ_{T+2} from the inner loop of `bilevel`, without a graph
    meta-gradient  ∂(L_acc + β L_tfr)(φ_{T+2}; θ)/∂θ, φ_{T+2} a constant (eq. 16)

The accuracy loss doesn't contain θ, so the direct gradient needs the transfer loss in the outer
objective; it can only make transfer easier, not more useful. Cost: K + 1 gradients and two forward
passes.
"""

from __future__ import annotations

import torch

from multistep.inner.dynamics import State, Tensors
from multistep.transfer.inner import Drift, Losses, MetaGradient, gradients, inner_loop, masked
from multistep.transfer.settings import Transfer

SOURCE = True


def meta_gradient(
    losses: Losses, theta: Tensors, phi: Tensors, state: State, lr: float, s: Transfer
) -> MetaGradient:
    """The meta-gradient of one mini-batch."""
    drift = Drift()
    with torch.no_grad():
        end, last = inner_loop(losses, phi, state, lr, s, watch=drift)
        accuracy = losses.accuracy(end)
    transfer = s.beta * losses.transfer(end)
    grads = gradients(transfer, theta)
    return MetaGradient(grads, (accuracy + transfer).detach(), drift.value, masked(last))
