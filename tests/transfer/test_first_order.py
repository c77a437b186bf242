"""The first-order ablation against the direct gradient at the end of the textbook's inner loop."""

import torch
from torch import Tensor
from transfer_reference import Reference

from multistep.inner.dynamics import State, Tensors


def reference(
    plain: Reference, phi: Tensors, state: State, theta: Tensors, x: Tensor, y: Tensor
) -> tuple[Tensors, Tensor]:
    """The gradient of L_total (eq. 19) by θ at a constant φ, and L_total."""
    end = plain.end(phi, state, theta, x, y, plain.s.lr)
    end = {name: p.detach() for name, p in end.items()}
    accuracy, transfer = plain.losses(end, theta, x, y)
    loss = accuracy + plain.s.beta * transfer
    found = torch.autograd.grad(loss, list(theta.values()))
    return dict(zip(theta, found, strict=True)), loss.detach()
