"""What the networks of meta-transfer have in common: taps, a classifier, seeded initial values."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """A classifier that also returns the maps where features are transferred.

    `forward` maps images `[batch, 3, h, w]` to `({tap: [batch, channels, h', w']}, logits)`.
    `tap_channels` has the channels of every tap, in the order of the layers.
    """

    tap_channels: dict[int, int]

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the initial values; modules only allocate."""
        raise NotImplementedError


class Linear(nn.Linear):
    """`nn.Linear` that draws nothing from the global generator."""

    def reset_parameters(self) -> None:
        """Nothing: `initialise` of the network does."""


def kaiming(weight: Tensor, generator: torch.Generator) -> None:
    """N(0, 2 / (k² · channels out)): He et al. (2015), fan-out, for ReLU."""
    nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu", generator=generator)


def uniform(tensor: Tensor, fan_in: int, generator: torch.Generator) -> None:
    """U(-1/√fan_in, 1/√fan_in), PyTorch's own default for layers' weights and biases."""
    bound = 1 / math.sqrt(fan_in)
    nn.init.uniform_(tensor, -bound, bound, generator=generator)


def spatial_mean(x: Tensor) -> Tensor:
    """`[batch, channels, h, w]` to `[batch, channels]`."""
    return x.mean((2, 3))
