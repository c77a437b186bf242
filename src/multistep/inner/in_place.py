"""The dynamics' own steps on parameters that stay where they are: what training itself takes.

`step_` moves the tensors that it is given and the state that `init` of the dynamics made, so an
inner loop can start from them, a checkpoint is their dictionary, and a CUDA graph may record them.
It calls the functions under the classes of torch.optim, whose arithmetic it is to the last bit: the
classes import torch's compiler at their first step, four seconds in jobs that may take five.
"""

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from multistep.inner.dynamics import SGD, Adam, State, Tensors


@torch.no_grad()
def step_(
    dynamics: SGD | Adam, params: Tensors, state: State, grads: Tensors, *,
    lr: float | Tensor | None = None, fused: bool | None = None,
) -> None:  # fmt: skip
    """One step, in place, with the gradient of every parameter.

    `lr` takes the place of the dynamics' own; a tensor, which a captured graph reads anew, for Adam
    and for plain gradient descent. Adam's `state["step"]` is then a tensor on the device too.
    """
    rate = dynamics.lr if lr is None else lr
    values, gradients = list(params.values()), [grads[name] for name in params]
    if isinstance(dynamics, Adam):
        _adam(dynamics, values, state, gradients, rate, fused, list(params))
    elif not dynamics.momentum and not dynamics.weight_decay:
        for p, g in zip(values, gradients, strict=True):
            p.sub_(rate * g)
    else:
        sgd(
            values, gradients, [state["velocity"][name] for name in params], fused=fused,
            weight_decay=dynamics.weight_decay, momentum=dynamics.momentum, lr=rate, dampening=0.0,
            nesterov=False, maximize=False,
        )  # fmt: skip


def _adam(
    dynamics: Adam, values: list[Tensor], state: State, gradients: list[Tensor],
    rate: float | Tensor, fused: bool | None, names: list[str],
) -> None:  # fmt: skip
    """Torch counts each parameter's steps in a tensor; here one number is counted for all."""
    captured = isinstance(state["step"], Tensor)
    if captured:
        counts = state["step"].repeat(len(values))
    else:
        where = values[0].device if fused else "cpu"
        counts = torch.full((len(values),), float(state["step"]), device=where)
    adam(
        values, gradients, [state["mean"][name] for name in names],
        [state["variance"][name] for name in names], [], list(counts.unbind()), fused=fused,
        capturable=captured, amsgrad=False, beta1=dynamics.betas[0], beta2=dynamics.betas[1],
        lr=rate, weight_decay=dynamics.weight_decay, eps=dynamics.eps, maximize=False,
    )  # fmt: skip
    state["step"] += 1  # in place if it is a tensor
