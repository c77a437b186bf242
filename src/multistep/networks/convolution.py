"""A convolution that can be differentiated twice at the speed of its first derivative.

A convolution is bilinear, and so are its two derivatives:

    F(x, w) = x * w       G(gy, w) = ∂⟨gy, F⟩/∂x       H(x, gy) = ∂⟨gy, F⟩/∂w

with ⟨gy, F(x, w)⟩ = ⟨G(gy, w), x⟩ = ⟨H(x, gy), w⟩: each one's derivatives are the other two. ATen
computes the second derivative with respect to the weights as a convolution whose kernel is as
large as the map; here a derivative of any order is one of three tuned kernels.

On a CPU derivatives take `multistep.networks.winograd` where it is faster. The network itself stays
with ATen's sums, whose rounding errors are a tenth: where they push a value over the kink of a ReLU
or to another maximum of a pool, a derivative jumps (seen: the meta-gradient of a mini-batch by 2%).
"""

from typing import Any

import torch
from torch import Tensor, nn

from multistep.networks import winograd

Geometry = tuple[int, int]  # stride, padding


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int = 0
) -> Tensor:
    """`torch.nn.functional.conv2d` for one stride and padding, one group and no dilation."""
    y: Tensor = _F.apply(x, weight, bias, (stride, padding), False)
    return y


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` with this module's convolution; whoever makes it sets the initial values."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0,
        bias: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(inputs, outputs, kernel, stride, padding, bias=bias)
        self.geometry = {"stride": stride, "padding": padding}

    def reset_parameters(self) -> None:
        """Nothing: values come from an explicit generator, never from the global one."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[batch, in, h, w]` to maps `[batch, out, h', w']`."""
        return conv2d(x, self.weight, self.bias, **self.geometry)


class _F(torch.autograd.Function):
    """y = F(x, w) + b; whether it is `derived`, that is part of a derivative."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, derived: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        if derived and geometry == (1, 1) and winograd.suits(x, weight, by_weight=False):
            return winograd.convolve(x, weight)
        return _convolution(x, weight, bias, geometry)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        gx = _G.apply(gy, weight, x, ctx.geometry) if asked(ctx, 0) else None
        gw = _H.apply(x, gy, weight, ctx.geometry) if asked(ctx, 1) else None
        gb = gy.sum((0, 2, 3)) if asked(ctx, 2) else None
        return gx, gw, gb, None, None


class _G(torch.autograd.Function):
    """gx = G(gy, w); `like` lends its shape."""

    @staticmethod
    def forward(ctx: Any, gy: Tensor, weight: Tensor, like: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(gy, weight)
        ctx.geometry = geometry
        return _convolution_backward(gy, like, weight, geometry, 0)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        gy, weight = ctx.saved_tensors
        by_gy = _F.apply(u, weight, None, ctx.geometry, True) if asked(ctx, 0) else None
        by_weight = _H.apply(u, gy, weight, ctx.geometry) if asked(ctx, 1) else None
        return by_gy, by_weight, None, None


class _H(torch.autograd.Function):
    """gw = H(x, gy); `like` lends its shape."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gy: Tensor, like: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, gy)
        ctx.geometry = geometry
        return _convolution_backward(gy, x, like, geometry, 1)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        x, gy = ctx.saved_tensors
        by_x = _G.apply(gy, u, x, ctx.geometry) if asked(ctx, 0) else None
        by_gy = _F.apply(x, u, None, ctx.geometry, True) if asked(ctx, 1) else None
        return by_x, by_gy, None, None


def asked(ctx: Any, index: int) -> bool:
    """Whether this backward pass needs the gradient of input `index`.

    `needs_input_grad` only says whether it could ever be needed. A pass for meta-parameters alone
    needs none of the gradients with respect to where the inner loop starts, two thirds of a
    second-order pass.
    """
    if not ctx.needs_input_grad[index]:
        return False
    node = ctx.next_functions[index][0]
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except RuntimeError:  # a leaf of torch.autograd.grad, or not inside a backward pass
        return True


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    (stride, padding) = geometry
    y: Tensor = torch.ops.aten.convolution(
        x, weight, bias, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1
    )
    return y


def _convolution_backward(
    gy: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, index: int
) -> Tensor:
    """∂⟨gy, F(x, w)⟩ with respect to x (index 0) or w (index 1)."""
    if geometry == (1, 1) and winograd.suits(x, weight, by_weight=index == 1):
        if index == 0:
            return winograd.convolve(gy, weight, turned=True)
        return winograd.weight_gradient(x, gy)
    (stride, padding), mask = geometry, [index == 0, index == 1, False]
    grads: list[Tensor] = torch.ops.aten.convolution_backward(
        gy, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, mask
    )
    return grads[index]
