"""The inner loop of meta-transfer (Algorithm 1): T transfer steps, then one accuracy step."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from multistep.inner.dynamics import SGD, Adam, Dynamics, State, Tensors
from multistep.inner.unroll import unroll
from multistep.transfer.settings import Training, Transfer

MATCHING = "match."  # how the names of the matching networks' parameters begin


class Losses(Protocol):
    """The two losses of one mini-batch, as functions of the task-parameters φ.

    `closure`: the tensors through which the transfer loss depends on θ. `buffers`: the running
    statistics that a forward pass updates; None: those that nobody reads. `statistics`: those that
    the inner loop's first pass updates, at φ₁.
    """

    @property
    def closure(self) -> Sequence[Tensor]: ...

    @property
    def statistics(self) -> Tensors | None: ...

    def transfer(self, phi: Tensors, buffers: Tensors | None = None) -> Tensor: ...

    def accuracy(self, phi: Tensors, buffers: Tensors | None = None) -> Tensor: ...


@dataclass(frozen=True)
class MetaGradient:
    """d meta-objective/dθ; a parameter that it doesn't reach is missing.

    `loss`: the meta-objective. `drift [2]`: see `Drift`. `masked`: elements whose second moment in
    Adam was zero (or subnormal) after the inner steps; the root's slope is taken as zero there.
    """

    grads: Tensors
    loss: Tensor
    drift: Tensor | None
    masked: Tensor | None


def inner_loop(
    losses: Losses, phi: Tensors, state: State, lr: float, s: Transfer, *,
    watch: Callable[[Tensors], None] | None = None,
) -> tuple[Tensors, State]:  # fmt: skip
    """φ and the optimiser's state after T transfer steps and one accuracy step.

    Differentiable with respect to θ through `losses`. `phi` and `state`, the optimiser's after the
    ordinary update, are constants and stay as they are: nothing has to be rolled back.
    """
    factor = s.beta if s.beta_in_inner_steps else 1.0
    phi = {name: p.detach() for name, p in phi.items()}
    # Only the first pass counts; those that are repeated on the way back come after it.
    buffers = itertools.chain([losses.statistics], itertools.repeat(None))
    phi, state = unroll(
        lambda p: factor * losses.transfer(p, next(buffers)), phi,
        dynamics(s, lr * s.transfer_lr_factor), steps=s.inner_steps, window=s.window, state=state,
        recompute=s.scheme == "replay", closure=losses.closure, watch=watch,
    )  # fmt: skip
    return unroll(
        lambda p: losses.accuracy(p, next(buffers)), phi, dynamics(s, lr), steps=1, state=state,
        recompute=s.scheme == "replay",
    )  # fmt: skip


def gradients(loss: Tensor, theta: Tensors) -> Tensors:
    """∂loss/∂θ of the parameters that it depends on."""
    if not loss.requires_grad:
        return {}
    found = torch.autograd.grad(loss, list(theta.values()), allow_unused=True)
    return {name: g for name, g in zip(theta, found, strict=True) if g is not None}


def task_dynamics(s: Training, lr: float) -> SGD | Adam:
    """The task optimiser."""
    if s.optimizer == "sgd":
        return SGD(lr, s.momentum, s.weight_decay)
    beta1, beta2 = s.adam_betas
    return Adam(lr, (beta1, beta2), s.adam_eps, s.weight_decay)


def dynamics(s: Transfer, lr: float) -> Dynamics:
    """The task optimiser as the inner loop takes it."""
    plain = task_dynamics(s, lr)
    return Skipping(plain) if s.absent_gradients == "skip" else plain


@dataclass(frozen=True)
class Skipping(Dynamics):
    """Another dynamics, but a parameter without a gradient stays as it is, and so does its state:
    what `torch.optim` does today. Each parameter has a state of its own, for their counts differ.
    """

    plain: Dynamics

    def init(self, params: Tensors) -> State:
        return {name: self.plain.init({name: p}) for name, p in params.items()}

    def window(
        self, params: Tensors, state: State, grads: Tensors, n: int
    ) -> tuple[Tensors, State]:
        params, state = dict(params), dict(state)
        for name, g in grads.items():
            moved, state[name] = self.plain.window({name: params[name]}, state[name], {name: g}, n)
            params[name] = moved[name]
        return params, state


def split_state(state: State) -> State:
    """The state that `Skipping` wants from one for all parameters together."""
    names = next(value for value in state.values() if isinstance(value, dict))
    return {
        name: {k: {name: v[name]} if isinstance(v, dict) else v for k, v in state.items()}
        for name in names
    }


@dataclass
class Drift:
    """‖g(φ_{t+1}) - g(φ_t)‖ / ‖g(φ_{t+1})‖ of the first two gradients it is shown (figure 1).

    `value [2]`: over all parameters that have a transfer gradient, and over the backbone's.
    """

    value: Tensor | None = None
    _before: Tensors = field(default_factory=dict)

    def __call__(self, grads: Tensors) -> None:
        if self.value is None and self._before:
            # The backbone's first: a slice of them, unlike a list, is nothing to send to a GPU.
            names = sorted(grads, key=lambda name: name.startswith(MATCHING))
            own = sum(not name.startswith(MATCHING) for name in names)
            now = [grads[name].detach() for name in names]
            before = [self._before[name].detach() for name in names]
            # A handful of operations: they fall on the methods with several gradients alone.
            change = _squares(torch._foreach_sub(now, before))
            size = _squares(now)
            everything = change.sum() / size.sum()
            backbone = change[:own].sum() / size[:own].sum()
            self.value = torch.stack([everything, backbone]).sqrt()
            self._before = {}
        elif self.value is None:
            self._before = grads


def _squares(tensors: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """The squared norm of each tensor."""
    return torch.stack(list(torch._foreach_norm(tensors))).square()


def masked(state: Any) -> Tensor | None:
    """How many elements of Adam's second moments are too small for a root with a slope; None for
    other optimisers.
    """
    if not isinstance(state, dict):
        return None
    if "variance" in state:
        every = [v.detach() for v in state["variance"].values()]
        counts = [torch.count_nonzero(v < torch.finfo(v.dtype).tiny) for v in every]
    else:
        counts = [c for c in (masked(part) for part in state.values()) if c is not None]
    return torch.stack(counts).sum() if counts else None
