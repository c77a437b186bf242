"""The four-block convolutional networks of few-shot learning.

`Conv4` is the plain network: it fixes names, shapes and initial values, and with
`torch.func.functional_call` it is the readable reference of the task-batched network in
`multistep.fewshot.batched`. Batch norm always uses the statistics of the batch at hand (support
and query separately, in training and in evaluation), so there are no running averages.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multistep.files import UserError
from multistep.networks.settings import GEOMETRIES, ConvInit, Geometry, Order, sides


@dataclass(frozen=True)
class ConvShape:
    """One convolution: square input of side `size`, `channels` in, kernel, stride, padding."""

    size: int
    channels: int
    kernel: int
    stride: int
    padding: int

    @property
    def output(self) -> int:
        """Side of the output map."""
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1


@dataclass(frozen=True)
class Conv4Config:
    """Everything that defines a four-block network.

    `geometry` "strided": 3×3, stride 2, padding 1, 28→14→7→4→2, spatial mean (Finn et al. 2017).
    `geometry` "valid": 3×3, stride 2, no padding, last block 2×2 stride 1, 28→13→6→2→1 (the code
    base that the paper names).
    `geometry` "pooled": 3×3, stride 1, padding 1, and at the end of each block 2×2 max-pooling,
    84→42→21→10→5 or 32→16→8→4→2; the head reads the flattened last map (Finn et al. 2017).
    `bn_scale`: whether γ exists (Finn's batch norm has only β).
    `head_std`: initial standard deviation of the linear head; None for Glorot.
    """

    ways: int
    geometry: Geometry = "strided"
    order: Order = "conv-bn-relu"
    channels: int = 1
    size: int = 28
    filters: int = 64
    bn_scale: bool = True
    bn_eps: float = 1e-5
    conv_init: ConvInit = "xavier"
    head_std: float | None = math.sqrt(2 / 64)

    def __post_init__(self) -> None:
        if self.last_side < 1:
            raise UserError(
                f"images of {self.size}×{self.size} pixels are too small: nothing is left of them "
                f'after four blocks of network.geometry "{self.geometry}"; use larger images'
            )

    @property
    def convolutions(self) -> tuple[ConvShape, ...]:
        into = [self.size, *sides(self.geometry, self.size)]
        channels = [self.channels, *[self.filters] * 3]
        blocks = zip(into, channels, GEOMETRIES[self.geometry], strict=False)
        return tuple(ConvShape(size, given, *block) for size, given, block in blocks)

    @property
    def last_side(self) -> int:
        """Side of the last map."""
        return sides(self.geometry, self.size)[-1]

    @property
    def pooled(self) -> bool:
        """Whether blocks end with max-pooling."""
        return self.geometry == "pooled"

    @property
    def spatial_mean(self) -> bool:
        """Whether the head reads the mean over the last map, or all of its pixels."""
        return self.geometry == "strided"

    @property
    def head_side(self) -> int:
        """Side of what the head reads: 1 for the spatial mean."""
        return 1 if self.spatial_mean else self.last_side


class Conv4(nn.Module):
    """Four blocks of convolution, batch norm, ReLU (and pooling), and a linear head."""

    def __init__(self, config: Conv4Config) -> None:
        super().__init__()
        self.config = config
        for i, c in enumerate(config.convolutions, start=1):
            conv = nn.Conv2d(c.channels, config.filters, c.kernel, c.stride, c.padding)
            self.add_module(f"conv{i}", conv)
            norm = nn.Module()
            if config.bn_scale:
                norm.register_parameter("weight", nn.Parameter(torch.ones(config.filters)))
            norm.register_parameter("bias", nn.Parameter(torch.zeros(config.filters)))
            self.add_module(f"norm{i}", norm)
        self.head = nn.Linear(config.filters * config.head_side**2, config.ways)

    def forward(self, x: Tensor, batches: int = 1, leading: int | None = None) -> Tensor:
        """Images `[images, channels, size, size]` in [0, 1] to logits `[images, ways]`.

        They are normalised as so many `batches` of equal size, one after the other; or all of them
        by the statistics of the `leading` images.
        """
        for i in range(1, 5):
            conv, norm = self.get_submodule(f"conv{i}"), self.get_submodule(f"norm{i}")
            x = conv(x)
            if self.config.order == "conv-relu-bn":
                x = batch_norm(F.relu(x), norm, self.config.bn_eps, batches, leading)
            else:
                x = F.relu(batch_norm(x, norm, self.config.bn_eps, batches, leading))
            x = F.max_pool2d(x, 2) if self.config.pooled else x
        x = x.mean((2, 3)) if self.config.spatial_mean else x.flatten(1)
        return self.head(x)


def batch_norm(x: Tensor, norm: nn.Module, eps: float, batches: int, leading: int | None) -> Tensor:
    """Normalise each batch in `[batches·n, channels, h, w]` by its own mean and (biased) variance,
    or all by those of the `leading` images, then γ x + β.

    Written out in primitive operations: the fused kernel's second derivative under `vmap` is slow,
    and this form is easy to compare with the hand-derived one.
    """
    x = x.unflatten(0, (batches, -1))
    centred = x - x[:, :leading].mean((1, 3, 4), keepdim=True)
    variance = centred[:, :leading].square().mean((1, 3, 4), keepdim=True)
    y = (centred * torch.rsqrt(variance + eps)).flatten(0, 1)
    affine = {name: p.view(1, -1, 1, 1) for name, p in norm.named_parameters()}
    return y * affine["weight"] + affine["bias"] if "weight" in affine else y + affine["bias"]


def initial_parameters(config: Conv4Config, seed: int) -> dict[str, Tensor]:
    """Initial θ in float32: convolutions Glorot-uniform or Kaiming-normal (fan-in, gain √2),
    biases 0, γ = 1, β = 0, head N(0, head_std²) or Glorot-uniform. Drawn on the CPU, so that every
    device starts from the same values.
    """
    generator = torch.Generator().manual_seed(seed)
    params = {name: p.detach().clone() for name, p in Conv4(config).named_parameters()}
    for name, p in params.items():
        if p.dim() == 4 and config.conv_init == "xavier":
            nn.init.xavier_uniform_(p, generator=generator)
        elif p.dim() == 4:
            nn.init.kaiming_normal_(p, nonlinearity="relu", generator=generator)
        elif p.dim() == 2 and config.head_std is not None:
            nn.init.normal_(p, std=config.head_std, generator=generator)
        elif p.dim() == 2:
            nn.init.xavier_uniform_(p, generator=generator)
        elif not (name.startswith("norm") and name.endswith("weight")):
            nn.init.zeros_(p)
    return params
