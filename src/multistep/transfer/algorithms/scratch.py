"""The target network alone: the ordinary update on the accuracy loss, no source, no meta-networks.

Cost: one gradient of the target network (section 5.1's reference without transfer).
"""

from __future__ import annotations

from multistep.inner.dynamics import State, Tensors
from multistep.transfer.inner import Losses
from multistep.transfer.settings import Transfer

SOURCE = False


def meta_gradient(
    losses: Losses, theta: Tensors, phi: Tensors, state: State, lr: float, s: Transfer
) -> None:
    """There is nothing to learn above the task."""
