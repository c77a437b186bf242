"""A small non-linear regression for the inner loop, whose loss contains a meta-parameter ψ."""

from collections.abc import Callable

import torch
from torch import Tensor

from multistep.inner.dynamics import Tensors

F64 = torch.float64


def problem(psi: Tensor, *, idle: bool = False) -> tuple[Tensors, Callable[[Tensors], Tensor]]:
    """The parameters (one that the loss doesn't use if `idle`), and the loss."""
    generator = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=F64)

    x, y = drawn(7, 3), drawn(7, 2)
    params = {"w1": drawn(3, 5), "w2": drawn(5, 2), **({"idle": drawn(4)} if idle else {})}

    def loss(p: Tensors) -> Tensor:
        error = torch.tanh(x @ p["w1"]) @ p["w2"] - y
        return (error.square() * psi.exp()).mean()

    return params, loss
