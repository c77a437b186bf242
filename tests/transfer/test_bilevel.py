"""L2T-ww and Multi-step against autograd through every step, and finite differences."""

import copy

import pytest
import torch
import transfer_reference as reference_
from torch import Tensor

from multistep.inner.dynamics import State, Tensors
from multistep.transfer.algorithms.bilevel import Bilevel


def reference(
    plain: reference_.Reference, phi: Tensors, state: State, theta: Tensors, x: Tensor, y: Tensor
) -> tuple[Tensors, Tensor]:
    """The meta-gradient by θ, and the outer loss."""
    loss, _ = plain.losses(plain.end(phi, state, theta, x, y, plain.s.lr), theta, x, y)
    found = torch.autograd.grad(loss, list(theta.values()))
    return dict(zip(theta, found, strict=True)), loss.detach()


def test_meta_gradient_by_finite_differences() -> None:
    """The bias of one loss-weight network."""
    s = reference_.settings(window=2)
    learner, batch, _, _ = reference_.learner_at_work(Bilevel(s))
    phi, state = learner.phi, learner.state["optimizer"]
    found = learner.algorithm.meta_gradient(batch, learner.theta, phi, state, s.lr)
    h, values = 1e-5, []
    for sign in (1, -1):
        moved = copy.deepcopy(learner.theta)
        moved["where.2.bias"].data[1] += sign * h
        taps, _ = batch.forward(phi)
        learner.theta = moved
        batch.pair_weights, batch.maps = batch._source_features(taps)
        values.append(learner.algorithm.meta_gradient(batch, moved, phi, state, s.lr).loss.item())
    slope = (values[0] - values[1]) / (2 * h)
    assert found.grads["where.2.bias"][1].item() == pytest.approx(slope, rel=1e-5)
