"""What and where to transfer: feature matching with learned weights (Jang et al. 2019, L2T-ww).

For a source tap m with maps S^m and a target tap n with maps T^n:

    l^{m,n}(x) = Σ_c w_c (1/HW) Σ_{ij} (r(T^n) - U(S^m))²_{c,i,j}
    L_tfr = mean over x of Σ_{m,n} λ^{m,n}(x) l^{m,n}(x)

r is a 1×1 convolution (task side) and U resizes to the size of T^n. From the spatial means h of S^m
the meta-networks θ give the channel weights w = softmax(A h + a), "what", and the pair weights
λ = ReLU6(b·h + c), "where". Every pair has its own r, A, a, b and c; those that share a tap are
stored and computed together.

Task-side parameters: `match.{n}.weight [ΣC_m, C_n, 1, 1]`, `match.{n}.bias [ΣC_m]`, source taps one
after the other. θ, for each source tap with N target taps: `what.{m}.weight [N, C_m, C_m]`,
`what.{m}.bias [N, C_m]`, `where.{m}.weight [N, C_m]`, `where.{m}.bias [N]`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from multistep.inner.dynamics import Tensors
from multistep.networks.backbone import Backbone, spatial_mean, uniform
from multistep.networks.convolution import conv2d

Taps = dict[int, Tensor]
SATURATION = 6.0  # of ReLU6


class PairWeights(NamedTuple):
    """θ's word on a batch: `weights {n: [batch, ΣC_m]}` are λ·w; λ and its pre-activation are
    `[batch, pairs]`, source taps major.
    """

    weights: Taps
    where: Tensor
    where_input: Tensor


@dataclass(frozen=True)
class Matching:
    """All pairs of some source taps with some target taps; channels by tap."""

    source: dict[int, int]
    target: dict[int, int]

    def initial_phi(self, generator: torch.Generator) -> Tensors:
        """The matching convolutions, uniform ±1/√C_n."""
        phi: Tensors = {}
        total = sum(self.source.values())
        for n, channels in self.target.items():
            phi[f"match.{n}.weight"] = torch.empty(total, channels, 1, 1)
            phi[f"match.{n}.bias"] = torch.empty(total)
            uniform(phi[f"match.{n}.weight"], channels, generator)
            uniform(phi[f"match.{n}.bias"], channels, generator)
        return phi

    def initial_theta(self, where_bias: float, generator: torch.Generator) -> Tensors:
        """Zeros for "what", so that all channels of a tap weigh the same; "where" is uniform
        ±1/√C_m with bias `where_bias`, so that λ starts around it.
        """
        theta: Tensors = {}
        count = len(self.target)
        for m, channels in self.source.items():
            theta[f"what.{m}.weight"] = torch.zeros(count, channels, channels)
            theta[f"what.{m}.bias"] = torch.zeros(count, channels)
            theta[f"where.{m}.weight"] = torch.empty(count, channels)
            theta[f"where.{m}.bias"] = torch.full((count,), where_bias)
            uniform(theta[f"where.{m}.weight"], channels, generator)
        return theta

    @torch.no_grad()
    def features(self, source: Backbone, x: Tensor, target_taps: Taps) -> tuple[Taps, Taps]:
        """What a pass of the source network, in eval mode, gives: pooled `{m: [batch, C_m]}`, and
        maps `{n: [batch, ΣC_m, H_n, W_n]}` of the sizes of `target_taps`. Nothing of it is
        differentiated.
        """
        taps, _ = source(x)
        maps = {
            n: torch.cat([resize(taps[m], target_taps[n].shape[2:]) for m in self.source], 1)
            for n in self.target
        }
        return {m: spatial_mean(taps[m]) for m in self.source}, maps

    def pair_weights(self, theta: Tensors, pooled: Taps) -> PairWeights:
        """λ·w for every sample, pair and channel."""
        inputs, products = [], []
        for m in self.source:
            h = pooled[m]
            z = torch.einsum("bc,ndc->bnd", h, theta[f"what.{m}.weight"])
            what = torch.softmax(z + theta[f"what.{m}.bias"], 2)
            z = h @ theta[f"where.{m}.weight"].T + theta[f"where.{m}.bias"]
            inputs.append(z)
            products.append(F.relu6(z).unsqueeze(2) * what)  # [batch, N, C_m]
        weights = {n: torch.cat([p[:, i] for p in products], 1) for i, n in enumerate(self.target)}
        where_input = torch.cat(inputs, 1)
        return PairWeights(weights, F.relu6(where_input), where_input)

    def loss(self, phi: Tensors, target_taps: Taps, maps: Taps, weights: Taps) -> Tensor:
        """L_tfr: over space a mean, over channels and pairs a sum, over the batch a mean."""
        terms = []
        for n in self.target:
            matched = conv2d(target_taps[n], phi[f"match.{n}.weight"], phi[f"match.{n}.bias"])
            terms.append((weights[n] * spatial_mean((matched - maps[n]).square())).sum())
        batch = next(iter(weights.values())).shape[0]
        return torch.stack(terms).sum() / batch


def resize(maps: Tensor, size: torch.Size) -> Tensor:
    """Bilinear with half-pixel centres and no antialiasing; as it is where the size is right."""
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False, antialias=False)
