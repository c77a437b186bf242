"""Differentiation rules of the layers of a task-batched network, to second order.

Every layer is four functions. With y = f(p, x), loss L, cotangents g = ∂L/∂·, and a direction u
in parameter space (the tangent of p), the rules are

    forward   y                                    from p, x
    backward  g_x and ∂L/∂p                        from g_y
    tangent   ẏ = ∂f/∂p u + ∂f/∂x ẋ                from u, ẋ
    adjoint   ġ_x and (H u)_p                      from ġ_y, the derivative of `backward` along u

Running forward, backward, tangent and adjoint through all the layers gives the Hessian-vector
product H u by forward-over-reverse differentiation: 6 convolution-sized products on top of the 3
of the gradient.

Shapes: activations are `[rows, tasks, channels]` with rows = images × height × width (channels
last), per-channel parameters `[tasks, channels]`, convolution weights
`[tasks, channels out, kernel² × channels in]`. Tasks never mix. What `backward` returns as `kept`
is all that `tangent` and `adjoint` need.
"""

from typing import Any

import torch
from torch import Tensor

from multistep.fewshot.convolution import convolve, input_gradient, weight_gradient
from multistep.networks.conv4 import ConvShape

Views = dict[str, Tensor]


class Convolution:
    """y = W * x + b. `first`: x is the images, whose gradient nobody needs.

    `bias_cancels`: batch norm follows at once and subtracts the mean, so b has no effect and its
    derivatives are exactly zero; adding it would only add rounding noise.
    """

    def __init__(self, shape: ConvShape, *, first: bool, bias_cancels: bool) -> None:
        self.shape, self.first, self.bias_cancels = shape, first, bias_cancels

    def forward(self, p: Views, x: Tensor) -> tuple[Tensor, Any]:
        y = convolve([(x, p["weight"])], self.shape)
        return (y if self.bias_cancels else y.add_(p["bias"])), x

    def backward(self, p: Views, grad: Views, saved: Any, gy: Tensor) -> tuple[Tensor | None, Any]:
        weight_gradient([(gy, saved)], self.shape, grad["weight"])
        self._bias(grad, gy)
        gx = None if self.first else input_gradient([(gy, p["weight"])], self.shape)
        return gx, (saved, gy)

    def tangent(self, p: Views, u: Views, kept: Any, dx: Tensor | None) -> tuple[Tensor, Any]:
        pairs = [(kept[0], u["weight"])]
        dy = convolve(pairs if dx is None else [*pairs, (dx, p["weight"])], self.shape)
        return (dy if self.bias_cancels else dy.add_(u["bias"])), dx

    def adjoint(
        self, p: Views, u: Views, product: Views, kept: Any, tangent: Any, dgy: Tensor
    ) -> Tensor | None:
        x, gy = kept
        self._bias(product, dgy)
        pairs = [(dgy, x)] if tangent is None else [(dgy, x), (gy, tangent)]
        weight_gradient(pairs, self.shape, product["weight"])
        if self.first:
            return None
        return input_gradient([(dgy, p["weight"]), (gy, u["weight"])], self.shape)

    def _bias(self, into: Views, g: Tensor) -> None:
        if self.bias_cancels:
            into["bias"].zero_()
        else:
            torch.sum(g, 0, out=into["bias"])


class BatchNorm:
    """y = γ x̂ + β with x̂ = (x - mean) r, r = 1/√(var + ε), statistics over the rows of one task.

    `scale`: whether γ exists. `adapted`: whether γ and β have tangents (are part of φ).
    """

    def __init__(self, eps: float, *, scale: bool, adapted: bool) -> None:
        self.eps, self.scale, self.adapted = eps, scale, adapted

    def forward(self, p: Views, x: Tensor) -> tuple[Tensor, Any]:
        centred = x - x.mean(0)
        r = torch.rsqrt((centred * centred).mean(0) + self.eps)
        normal = centred.mul_(r)
        y = torch.addcmul(p["bias"], normal, p["weight"]) if self.scale else normal + p["bias"]
        return y, (normal, r)

    def backward(self, p: Views, grad: Views, saved: Any, gy: Tensor) -> tuple[Tensor, Any]:
        normal, r = saved
        sum_g = gy.sum(0)
        sum_gn = (gy * normal).sum(0)
        self.write(grad, sum_g, sum_gn)
        gx = self._centre(gy, normal, sum_g, sum_gn).mul_(self._slope(p, r))
        return gx, (normal, r, gy, sum_g, sum_gn, gx)

    def tangent(self, p: Views, u: Views, kept: Any, dx: Tensor) -> tuple[Tensor, Any]:
        normal, r = kept[:2]
        rows = normal.shape[0]
        correlation = (normal * dx).mean(0)
        # d x̂ = r (ẋ - mean(ẋ) - x̂ mean(x̂ ẋ)); the same projection as in `backward`.
        dnormal = self._centre(dx, normal, dx.sum(0), correlation * rows).mul_(r)
        return self._affine(p, u, normal, dnormal), (dnormal, correlation)

    def adjoint(
        self, p: Views, u: Views, product: Views, kept: Any, tangent: Any, dgy: Tensor
    ) -> Tensor:
        normal, r, gy, sum_g, sum_gn, gx = kept
        dnormal, correlation = tangent
        rows = normal.shape[0]
        dsum_g = dgy.sum(0)
        dsum_gn = torch.addcmul(dgy * normal, gy, dnormal).sum(0)
        self.write(product, dsum_g, dsum_gn)
        dgx = self._centre(dgy, normal, dsum_g, dsum_gn)
        dgx.addcmul_(dnormal, sum_gn, value=-1.0 / rows).mul_(self._slope(p, r))
        # dr = -r² mean(x̂ ẋ), and gx = centred gradient × slope, so the change of r adds:
        dgx.addcmul_(gx, correlation * r, value=-1.0)
        if self.adapted and self.scale:
            dgx.addcmul_(self._centre(gy, normal, sum_g, sum_gn), u["weight"] * r)
        return dgx

    @staticmethod
    def _centre(g: Tensor, normal: Tensor, sum_g: Tensor, sum_gn: Tensor) -> Tensor:
        """G - mean(g) - x̂ mean(g x̂): the part of g that survives the normalisation."""
        rows = normal.shape[0]
        return (g - sum_g / rows).addcmul_(normal, sum_gn, value=-1.0 / rows)

    def _slope(self, p: Views, r: Tensor) -> Tensor:
        return p["weight"] * r if self.scale else r

    def _affine(self, p: Views, u: Views, normal: Tensor, dnormal: Tensor) -> Tensor:
        """The tangent of γ x̂ + β."""
        dy = dnormal * p["weight"] if self.scale else dnormal.clone()
        if self.adapted:
            dy += u["bias"]
            if self.scale:
                dy.addcmul_(normal, u["weight"])
        return dy

    def write(self, into: Views, by_bias: Tensor, by_weight: Tensor) -> None:
        """Derivatives by β and γ."""
        into["bias"].copy_(by_bias)
        if self.scale:
            into["weight"].copy_(by_weight)


class ReLU:
    """y = max(x, 0). The input is overwritten; no parameters; its own second derivative is zero."""

    def forward(self, p: Views, x: Tensor) -> tuple[Tensor, Any]:
        y = x.clamp_min_(0)
        return y, y

    def backward(self, p: Views, grad: Views, saved: Any, gy: Tensor) -> tuple[Tensor, Any]:
        return self._mask(gy, saved), saved

    def tangent(self, p: Views, u: Views, kept: Any, dx: Tensor) -> tuple[Tensor, Any]:
        return self._mask(dx, kept), None

    def adjoint(
        self, p: Views, u: Views, product: Views, kept: Any, tangent: Any, dgy: Tensor
    ) -> Tensor:
        return self._mask(dgy, kept)

    @staticmethod
    def _mask(g: Tensor, y: Tensor) -> Tensor:
        return torch.ops.aten.threshold_backward(g, y, 0)


class Features:
    """What the head reads, `[tasks, images, features]`: the spatial mean of the last map, or its
    pixels one after another, channels last. Linear, no parameters.
    """

    def __init__(self, pixels: int, *, mean: bool) -> None:
        self.pixels, self.mean = pixels, mean

    def forward(self, p: Views, x: Tensor) -> tuple[Tensor, Any]:
        return self._read(x), None

    def backward(self, p: Views, grad: Views, saved: Any, gy: Tensor) -> tuple[Tensor, Any]:
        return self._spread(gy), None

    def tangent(self, p: Views, u: Views, kept: Any, dx: Tensor) -> tuple[Tensor, Any]:
        return self._read(dx), None

    def adjoint(
        self, p: Views, u: Views, product: Views, kept: Any, tangent: Any, dgy: Tensor
    ) -> Tensor:
        return self._spread(dgy)

    def _read(self, x: Tensor) -> Tensor:
        """`[rows, tasks, channels]` to `[tasks, images, features]`."""
        x = x.unflatten(0, (-1, self.pixels))
        return x.mean(1).transpose(0, 1) if self.mean else x.permute(2, 0, 1, 3).flatten(2)

    def _spread(self, g: Tensor) -> Tensor:
        """The transpose of `_read`."""
        if not self.mean:
            g = g.unflatten(2, (self.pixels, -1)).permute(1, 2, 0, 3)
            return g.reshape(-1, *g.shape[2:])
        g = (g / self.pixels).transpose(0, 1)
        return g.repeat_interleave(self.pixels, 0) if self.pixels > 1 else g.contiguous()


class Head:
    """Logits of a linear head. Features and logits are `[tasks, images, ·]`, the head's weight is
    `[tasks, ways, features]`.
    """

    def forward(self, p: Views, x: Tensor) -> tuple[Tensor, Any]:
        return self._linear(x, p) + p["bias"].unsqueeze(1), x

    def backward(self, p: Views, grad: Views, saved: Any, gy: Tensor) -> tuple[Tensor, Any]:
        grad["weight"].copy_(torch.bmm(gy.transpose(1, 2), saved))
        torch.sum(gy, 1, out=grad["bias"])
        return torch.bmm(gy, p["weight"]), (saved, gy)

    def tangent(self, p: Views, u: Views, kept: Any, dx: Tensor) -> tuple[Tensor, Any]:
        return self._linear(dx, p) + self._linear(kept[0], u) + u["bias"].unsqueeze(1), dx

    def adjoint(
        self, p: Views, u: Views, product: Views, kept: Any, tangent: Any, dgy: Tensor
    ) -> Tensor:
        features, gy = kept
        weight = torch.bmm(dgy.transpose(1, 2), features)
        product["weight"].copy_(weight.baddbmm_(gy.transpose(1, 2), tangent))
        torch.sum(dgy, 1, out=product["bias"])
        return torch.bmm(dgy, p["weight"]).baddbmm_(gy, u["weight"])

    @staticmethod
    def _linear(features: Tensor, p: Views) -> Tensor:
        return torch.bmm(features, p["weight"].transpose(1, 2))
