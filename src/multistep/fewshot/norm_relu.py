"""Batch norm and ReLU, with 2×2 max-pooling between them where there is one, as one layer."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from multistep import machine_code
from multistep.fewshot import norm_loops
from multistep.fewshot.layers import BatchNorm, ReLU, Views
from multistep.fewshot.pooled_norm import PooledBatchNorm


class Kept(NamedTuple):
    """Of a pass through the compiled loops: x, y's codes, [mean, r]; after `backward` also g_y and
    [Σ g, Σ g x̂].
    """

    x: Tensor
    codes: Tensor
    stats: Tensor
    gy: Tensor
    sums: Tensor


class NormReLU:
    """Rules as in `multistep.fewshot.layers`: compiled loops where they suit (a CPU, float32), and
    otherwise the two layers one after the other.

    `side`: of the square maps. `scale`, `adapted`: as in `BatchNorm`.
    """

    def __init__(self, side: int, eps: float, *, scale: bool, adapted: bool, pooled: bool) -> None:
        self.side, self.eps = side, eps
        self.scale, self.adapted, self.pooled = scale, adapted, pooled
        self.relu = ReLU()
        self.norm = batch_norm(side, eps, scale=scale, adapted=adapted, pooled=pooled)

    def forward(self, p: Views, x: Tensor) -> tuple[Tensor, Any]:
        if not machine_code.suit(x, sizes=x.shape[2:]):
            y, saved = self.norm.forward(p, x)
            y, sign = self.relu.forward({}, y)
            return y, (saved, sign)
        x = x.contiguous()
        cells = norm_loops.table(x.shape[0] // self.side**2, self.side, self.pooled)[0]
        y, stats = x.new_empty(cells, *x.shape[1:]), x.new_empty(2, *x.shape[1:])
        codes = torch.empty_like(y, dtype=torch.int8)
        self._run("forward", x, *self._gamma(p, x), *_given(p["bias"]), x, y, codes, stats)
        return y, Kept(x, codes, stats, x, stats)

    def backward(self, p: Views, grad: Views, saved: Any, gy: Tensor) -> tuple[Tensor, Any]:
        if not isinstance(saved, Kept):
            gy, sign = self.relu.backward({}, {}, saved[1], gy)
            gx, kept = self.norm.backward(p, grad, saved[0], gy)
            return gx, (kept, sign)
        x, codes, stats = saved[:3]
        gx, sums, gy = torch.empty_like(x), torch.empty_like(stats), gy.contiguous()
        self._run("backward", x, *self._gamma(p, x), x, codes, stats, gy, gx, sums)
        self.norm.write(grad, *sums)
        return gx, Kept(x, codes, stats, gy, sums)

    def tangent(self, p: Views, u: Views, kept: Any, dx: Tensor) -> tuple[Tensor, Any]:
        if not isinstance(kept, Kept):
            dy, moved = self.norm.tangent(p, u, kept[0], dx)
            return self.relu.tangent({}, {}, kept[1], dy)[0], moved
        x, codes, stats = kept[:3]
        dy, means = torch.empty_like(codes, dtype=x.dtype), torch.empty_like(stats)
        dx = dx.contiguous()
        shift = _given(u["bias"]) if self.adapted else _zero(x)
        parameters = (*self._gamma(p, x), *self._moved(u, x), *shift)
        self._run("tangent", x, *parameters, x, codes, stats, dx, dy, means)
        return dy, (dx, means)

    def adjoint(
        self, p: Views, u: Views, product: Views, kept: Any, tangent: Any, dgy: Tensor
    ) -> Tensor:
        if not isinstance(kept, Kept):
            dgy = self.relu.adjoint({}, {}, {}, kept[1], None, dgy)
            return self.norm.adjoint(p, u, product, kept[0], tangent, dgy)
        x, dgy = kept.x, dgy.contiguous()
        dgx, sums = torch.empty_like(x), torch.empty_like(kept.stats)
        parameters = (*self._gamma(p, x), *self._moved(u, x))
        self._run("adjoint", x, *parameters, *kept, *tangent, dgy, dgx, sums)
        self.norm.write(product, *sums)
        return dgx

    def _run(self, rule: str, x: Tensor, *arguments: Any) -> None:
        rows, tasks, channels = x.shape
        cells, left, table = norm_loops.table(rows // self.side**2, self.side, self.pooled)
        pixels = 4 if self.pooled else 1
        norm_loops.rule(rule, machine_code.columns(channels, 2), pixels, self.eps)(
            tasks, channels, rows, cells, left, table.data_ptr(),
            *[a if isinstance(a, int) else a.data_ptr() for a in arguments],
        )  # fmt: skip

    def _gamma(self, p: Views, x: Tensor) -> tuple[Tensor, int]:
        return _given(p["weight"]) if self.scale else (x.new_ones(x.shape[2]), 0)

    def _moved(self, u: Views, x: Tensor) -> tuple[Tensor, int]:
        return _given(u["weight"]) if self.adapted and self.scale else _zero(x)


def batch_norm(side: int, eps: float, *, scale: bool, adapted: bool, pooled: bool) -> BatchNorm:
    """Batch norm of maps of `side`, with the pooling where there is one."""
    if pooled:
        return PooledBatchNorm(side, eps, scale=scale, adapted=adapted)
    return BatchNorm(eps, scale=scale, adapted=adapted)


def _given(parameter: Tensor) -> tuple[Tensor, int]:
    """A parameter `[tasks or 1, channels]` and its step from task to task."""
    return parameter, parameter.shape[1] if parameter.shape[0] > 1 else 0


def _zero(x: Tensor) -> tuple[Tensor, int]:
    return x.new_zeros(x.shape[2]), 0
