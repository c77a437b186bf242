"""Batch norm and 2×2 max-pooling as one layer of a task-batched network.

Only the picked quarter of the normalised values goes on, so the gradient that comes back is zero
on the other three. What batch norm makes of it is then one linear map of each map's values, and
the layer never writes out a normalised, a pooled or a scattered map for later.
"""

from typing import Any

import torch
from torch import Tensor

from multistep.fewshot.layers import BatchNorm, Views


class PooledBatchNorm(BatchNorm):
    """y = pool(γ x̂ + β) with x̂ = c r, c = x - mean, r = 1/√(var + ε), per task and channel.

    Rules as in `multistep.fewshot.layers`. `side`: of the square maps; an odd last row and column
    are normalised but not pooled. Of equal values the first counts, as in `F.max_pool2d`. `scale`:
    whether γ exists. `adapted`: whether γ and β have tangents. With n rows, Σ over rows, subscript
    p for the values that the pooling picks and P' for putting them back among zeros:

        g_x = s (P' g - Σg/n - x̂ Σ(g x̂_p)/n)            with the slope s = γ r
        ẋ̂   = r (ẋ - mean(ẋ) - x̂ κ)                     with κ = mean(x̂ ẋ)
        ġ_x = s (P' ġ - Σġ/n - x̂ Σ(g x̂_p)˙/n - ẋ̂ Σ(g x̂_p)/n) + (ṡ/s) g_x,   ṡ = γ̇ r - s r κ
    """

    def __init__(self, side: int, eps: float, *, scale: bool, adapted: bool) -> None:
        super().__init__(eps, scale=scale, adapted=adapted)
        self.side = side

    def forward(self, p: Views, x: Tensor) -> tuple[Tensor, Any]:
        centred = x.contiguous() - x.mean(0)
        r = torch.rsqrt((centred * centred).mean(0) + self.eps)
        y, picked = pool(torch.addcmul(p["bias"], centred, self._slope(p, r)), self.side)
        return y, (centred, r, picked)

    def backward(self, p: Views, grad: Views, saved: Any, gy: Tensor) -> tuple[Tensor, Any]:
        centred, r, picked = saved
        rows = centred.shape[0]
        normal = pick(centred, picked).mul_(r)
        sum_g, sum_gn = gy.sum(0), (gy * normal).sum(0)
        self.write(grad, sum_g, sum_gn)
        slope = self._slope(p, r)
        gx = torch.addcmul(-slope * sum_g / rows, centred, -slope * r * sum_gn / rows)
        put(gx, picked, gy * slope)
        return gx, (centred, r, picked, normal, gy, sum_g, sum_gn)

    def tangent(self, p: Views, u: Views, kept: Any, dx: Tensor) -> tuple[Tensor, Any]:
        centred, r, picked, normal = kept[:4]
        mean, correlation = dx.mean(0), (centred * dx).mean(0).mul_(r)
        dnormal = (pick(dx, picked) - mean).addcmul_(normal, correlation, value=-1).mul_(r)
        return self._affine(p, u, normal, dnormal), (dx, mean, correlation, dnormal)

    def adjoint(
        self, p: Views, u: Views, product: Views, kept: Any, tangent: Any, dgy: Tensor
    ) -> Tensor:
        centred, r, picked, normal, gy, sum_g, sum_gn = kept
        dx, mean, correlation, dnormal = tangent
        rows = centred.shape[0]
        dsum_g, dsum_gn = dgy.sum(0), torch.addcmul(dgy * normal, gy, dnormal).sum(0)
        self.write(product, dsum_g, dsum_gn)
        slope = self._slope(p, r)
        dslope = -slope * r * correlation
        if self.adapted and self.scale:
            dslope += u["weight"] * r
        # ġ_x by what it is linear in: a constant, the centred values, ẋ, and the picked places.
        by_dx = -slope * r * sum_gn / rows
        by_centred = r * (-by_dx * correlation - (slope * dsum_gn + dslope * sum_gn) / rows)
        constant = -by_dx * mean - (slope * dsum_g + dslope * sum_g) / rows
        dgx = torch.addcmul(constant, centred, by_centred).addcmul_(dx, by_dx)
        put(dgx, picked, (dgy * slope).addcmul_(gy, dslope))
        return dgx


def pool(y: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The largest of each 2×2 window of maps of `side`, `[rows of the pooled maps, tasks,
    channels]`, and where in its map it stood, `[images, pooled pixels, tasks·channels]`.
    """
    maps = y.view(-1, side, side, y.shape[1] * y.shape[2]).permute(0, 3, 1, 2)
    largest, places = torch.ops.aten.max_pool2d_with_indices(maps, [2, 2], [2, 2])
    pooled = largest.permute(0, 2, 3, 1).reshape(-1, *y.shape[1:])
    return pooled, places.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def pick(x: Tensor, places: Tensor) -> Tensor:
    """The values at the places of `pool`."""
    maps = x.reshape(places.shape[0], -1, places.shape[2])
    return maps.gather(1, places).view(-1, *x.shape[1:])


def put(x: Tensor, places: Tensor, values: Tensor) -> None:
    """Add values at the places of `pool`: each place at most once, so in no particular order."""
    maps = x.view(places.shape[0], -1, places.shape[2])
    maps.scatter_add_(1, places, values.reshape(places.shape))
