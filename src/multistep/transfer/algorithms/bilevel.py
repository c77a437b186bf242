"""L2T-ww and Multi-step: the gradient of the accuracy loss through the inner loop.

    φ₁, o₁ from the ordinary update; T = K·n times  (φ, o) ← Φ(φ, o; ∇ β L_tfr(φ; θ)), the gradient
    evaluated K times and reused for n steps;  (φ, o) ← Φ(φ, o; ∇ L_acc(φ))
    meta-gradient  dL_acc(φ_{T+2})/dθ, all on the same mini-batch (Algorithm 1, eq. 12)

n = 1 is the earlier work's exact gradient. In forward-equivalents of the target network, with
graphs kept: 9 for the accuracy step, 3 for the outer loss, 5 for the first window (only its mixed
derivative is needed, since φ₁ is a constant), 9 for every further one (section 5.1).
"""

from __future__ import annotations

from multistep.inner.dynamics import State, Tensors
from multistep.transfer.inner import Drift, Losses, MetaGradient, gradients, inner_loop, masked
from multistep.transfer.settings import Transfer

SOURCE = True


def meta_gradient(
    losses: Losses, theta: Tensors, phi: Tensors, state: State, lr: float, s: Transfer
) -> MetaGradient:
    """The meta-gradient of one mini-batch; with T = 0 it reaches no parameter."""
    drift = Drift()
    end, last = inner_loop(losses, phi, state, lr, s, watch=drift)
    loss = losses.accuracy(end)
    grads = gradients(loss, theta)
    return MetaGradient(grads, loss.detach(), drift.value, masked(last))
