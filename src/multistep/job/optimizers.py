"""SGD and Adam in place, by the functions under the classes of torch.optim.

The classes import torch's compiler at their first step, some four seconds of processor time in jobs
that may take five; the functions don't and are the same arithmetic to the last bit
(tests/test_optimizers.py). Their state is plain lists of tensors, in the order of the parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd


class SGD:
    """SGD with momentum and coupled weight decay, dampening 0; a velocity begins at zero."""

    def __init__(
        self,
        params: Sequence[Tensor],
        lr: float,
        momentum: float,
        weight_decay: float,
        *,
        fused: bool | None = None,
    ) -> None:
        self.params, self.lr = list(params), lr
        self.momentum, self.weight_decay, self.fused = momentum, weight_decay, fused
        self.velocity = [torch.zeros_like(p, requires_grad=False) for p in self.params]

    @torch.no_grad()
    def step(self, grads: Sequence[Tensor]) -> None:
        """One step with the gradient of every parameter."""
        sgd(
            self.params,
            list(grads),
            list(self.velocity),
            fused=self.fused,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=self.lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )

    def state(self) -> dict[str, Any]:
        """Copies of what a resumed run needs beside the parameters."""
        return {"velocity": [v.clone() for v in self.velocity]}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`, in place."""
        _fill(self.velocity, state["velocity"])


class Adam:
    """Adam with bias correction and L2-coupled weight decay.

    `lr` may be a tensor on the parameters' device if `capturable`: a captured graph then reads it.
    """

    def __init__(
        self,
        params: Sequence[Tensor],
        lr: float | Tensor,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        fused: bool | None = None,
        capturable: bool = False,
    ) -> None:
        self.params, self.lr, self.betas, self.eps = list(params), lr, betas, eps
        self.weight_decay, self.fused, self.capturable = weight_decay, fused, capturable
        self.mean = [torch.zeros_like(p, requires_grad=False) for p in self.params]
        self.variance = [m.clone() for m in self.mean]
        on_device = fused or capturable
        self.steps = [torch.zeros((), device=p.device if on_device else "cpu") for p in self.params]

    @torch.no_grad()
    def step(self, grads: Sequence[Tensor | None]) -> None:
        """One step; a parameter whose gradient is None stays where it is, and so do its moments."""
        has = [i for i, g in enumerate(grads) if g is not None]
        if not has:
            return
        adam(
            [self.params[i] for i in has],
            [g for g in grads if g is not None],
            [self.mean[i] for i in has],
            [self.variance[i] for i in has],
            [],
            [self.steps[i] for i in has],
            fused=self.fused,
            capturable=self.capturable,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.lr,
            weight_decay=self.weight_decay,
            eps=self.eps,
            maximize=False,
        )

    def state(self) -> dict[str, Any]:
        """Copies of what a resumed run needs beside the parameters."""
        slots = {"mean": self.mean, "variance": self.variance, "steps": self.steps}
        return {name: [t.clone() for t in slot] for name, slot in slots.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`, in place: a captured graph goes on with the same tensors."""
        for slot, name in ((self.mean, "mean"), (self.variance, "variance"), (self.steps, "steps")):
            _fill(slot, state[name])


@torch.no_grad()
def _fill(tensors: list[Tensor], saved: list[Tensor]) -> None:
    for tensor, value in zip(tensors, saved, strict=True):
        tensor.copy_(value)
