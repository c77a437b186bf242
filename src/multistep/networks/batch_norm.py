"""Batch norm in train mode with a second derivative in closed form.

With x̂ = (x - μ) s, s = 1/σ, and all means and sums over the N elements of a channel:

    y = w x̂ + b,    gx = w s (gy - ⟨gy⟩ - x̂ ⟨gy x̂⟩),    gw = Σ gy x̂,    gb = Σ gy

The second derivative of PyTorch's kernel is composed of some thirty passes over the maps; written
out it is an affine function of the two cotangents and x for each channel, eight passes.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from multistep.networks.convolution import asked


class BatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d`; in train mode it can be differentiated twice, and no more often."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[batch, channels, h, w]` to maps of the same shape; updates the running means."""
        if not self.training:
            return super().forward(x)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        y: Tensor = _Norm.apply(
            x, self.weight, self.bias, self.running_mean, self.running_var, self.momentum, self.eps
        )
        return y


class _Norm(torch.autograd.Function):
    """(x, w, b) to y."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, b: Tensor, mean: Tensor, variance: Tensor,
        momentum: float, eps: float,
    ) -> Tensor:  # fmt: skip
        y: Tensor
        y, mu, s = torch.ops.aten.native_batch_norm(x, w, b, mean, variance, True, momentum, eps)
        ctx.save_for_backward(x, w, mu, s)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Any:
        x, w, mu, s = ctx.saved_tensors
        return *_NormBackward.apply(gy, x, w, mu, s, ctx.eps), None, None, None, None


class _NormBackward(torch.autograd.Function):
    """(gy, x, w) to (gx, gw, gb); μ and s are known functions of x."""

    @staticmethod
    def forward(
        ctx: Any, gy: Tensor, x: Tensor, w: Tensor, mu: Tensor, s: Tensor, eps: float
    ) -> Any:
        gx, gw, gb = _sums(gy, x, w, mu, s, eps, True)
        ctx.save_for_backward(gy, x, w, mu, s, gw, gb)
        ctx.eps = eps
        ctx.set_materialize_grads(False)
        return gx, gw, gb

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor | None, p: Tensor | None, q: Tensor | None) -> Any:
        """The gradient of Σ u gx + Σ p gw + Σ q gb with respect to (gy, x, w)."""
        gy, x, w, mu, s, gw, gb = ctx.saved_tensors
        count = gy.numel() / gy.shape[1]
        u = torch.zeros_like(gy) if u is None else u
        p = torch.zeros_like(w) if p is None else p
        q = torch.zeros_like(w) if q is None else q
        c = gw / count  # ⟨gy x̂⟩
        _, sum_ux, sum_u = _sums(u, x, w, mu, s, ctx.eps, False)
        d, mean_u, scale = sum_ux / count, sum_u / count, w * s
        by_gy = by_x = by_w = None
        if asked(ctx, 0):
            slope = p - scale * d
            by_gy = _affine(u, scale, x, slope * s, q - scale * mean_u - slope * s * mu)
        if asked(ctx, 1) or asked(ctx, 2):
            by_w = s * ((gy * u).sum((0, 2, 3)) - gb * mean_u - gw * d)
        if asked(ctx, 1):
            # e = ∂/∂x̂ = α u + β gy; through μ and s it loses its mean and its part along x̂.
            alpha, beta = -scale * c, p - scale * d
            mean_e = alpha * mean_u + beta * gb / count
            along = alpha * d + beta * c + w * by_w / count
            slope = -s * s * along
            by_x = _affine(u, s * alpha, gy, s * beta, -s * mean_e - slope * mu)
            by_x.addcmul_(x, _wide(slope))
        return by_gy, by_x, by_w, None, None, None


def _sums(
    gy: Tensor, x: Tensor, w: Tensor, mu: Tensor, s: Tensor, eps: float, whole: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(gx, Σ gy x̂, Σ gy); gx only if it is the `whole`."""
    result: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        gy, x, w, None, None, mu, s, True, eps, [whole, True, True]
    )
    return result


def _affine(a: Tensor, by_a: Tensor, b: Tensor, by_b: Tensor, constant: Tensor) -> Tensor:
    """by_a · a + by_b · b + constant, coefficients `[channels]`."""
    return torch.addcmul(_wide(constant), a, _wide(by_a)).addcmul_(b, _wide(by_b))


def _wide(v: Tensor) -> Tensor:
    return v.view(1, -1, 1, 1)
