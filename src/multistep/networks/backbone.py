"""What the networks of meta-transfer have in common: taps, a classifier, seeded initial values."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from multistep.networks.convolution import Conv2d


class Backbone(nn.Module):
    """A classifier that also returns the maps where features are transferred.

    `forward` maps images `[batch, 3, h, w]` to `({tap: [batch, channels, h', w']}, logits)`.
    `tap_channels` has the channels of every tap, in the order of the layers.
    """

    tap_channels: dict[int, int]
    fc: Linear  # the classifier
    head_std: float | None = None  # of its initial weights; None: uniform, ±1/√fan-in, bias too

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the initial values; layers only allocate.

        Convolutions N(0, 2 / (k² · channels out)), He et al. (2015), fan-out, for ReLU; biases 0.
        """
        for module in self.modules():
            if isinstance(module, Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu", generator=generator
                )
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.head_std is not None:
            nn.init.normal_(self.fc.weight, std=self.head_std, generator=generator)
            nn.init.zeros_(self.fc.bias)
            return
        for tensor in (self.fc.weight, self.fc.bias):
            uniform(tensor, self.fc.in_features, generator)


class Linear(nn.Linear):
    """`nn.Linear` that draws nothing from the global generator."""

    def reset_parameters(self) -> None:
        """Nothing: `initialise` of the network does."""


def uniform(tensor: Tensor, fan_in: int, generator: torch.Generator) -> None:
    """U(-1/√fan_in, 1/√fan_in), PyTorch's own default for layers' weights and biases."""
    bound = 1 / math.sqrt(fan_in)
    nn.init.uniform_(tensor, -bound, bound, generator=generator)


def spatial_mean(x: Tensor) -> Tensor:
    """`[batch, channels, h, w]` to `[batch, channels]`."""
    return x.mean((2, 3))
