"""The inner loop: exact, estimated in windows, or first-order; the heart of the paper.

Two functions compute the same thing:

* `unroll` is the definition. It is differentiated by autograd, works for any loss and any
  dynamics, and keeps the graph of every evaluated gradient or rebuilds it window by window.
* `unroll_vjp` is the adjoint recursion (eq. 12 and 13 transposed) for SGD, for an objective that
  brings its own gradient and Hessian-vector product. It needs one Hessian-vector product per
  window and can keep only the window starts, so that memory does not grow with the steps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from multistep.inner import sgd_window
from multistep.inner.dynamics import SGD, Coefficients, Dynamics, State, Tensors
from multistep.inner.recompute import chain
from multistep.machine_code import inside_transform

Loss = Callable[[Tensors], Tensor]


def unroll(
    loss: Loss, params: Tensors, dynamics: Dynamics, *, steps: int, window: int = 1,
    state: State | None = None, first_order: bool = False, recompute: bool = False,
    closure: Sequence[Tensor] = (), watch: Callable[[Tensors], None] | None = None,
) -> tuple[Tensors, State]:  # fmt: skip
    """Take `steps` inner steps on `loss` and return the final parameters and state.

    The gradient is evaluated once per `window` steps and reused inside it (multi-step estimation,
    Φ̂ⁿ of eq. 11); `window=1` is exact (eq. 2, eq. 3). The result is differentiable with respect to
    `params`, `state` and whatever `loss` closes over. `first_order=True` treats every evaluated
    gradient as a constant (eq. 16); the linear part of the dynamics stays differentiable.

    `loss(params) -> scalar` is evaluated `steps / window` times. All of `params` move, whatever
    their `requires_grad` says: what is frozen is left out, and closed over. Parameters that `loss`
    does not use are missing in the gradients that the dynamics gets; they still move by momentum
    and decay. `dynamics`: `SGD`, `Adam`, or anything with the `init` and `window` of
    `multistep.inner.dynamics.Dynamics`, such as one with rates that are learned.

    What `loss` calls must have right second derivatives: those of torch's `weight_norm` (dim 0, its
    default, or the last one) are wrong without a word; write g v / |v| in plain operations, see
    findings/torch-weight-norm-second-derivative.sh. So are those of `spectral_norm`, which takes
    the singular vectors for constants; divide by `torch.linalg.matrix_norm(W, 2)`. With tasks
    under `vmap` take the meta-gradient inside, `vmap(grad(task))`: on the way back through vmap
    batch, instance and layer norm lose a part (findings/torch-vmap-norm-meta-gradient.sh).

    `recompute=True` keeps only the parameters and the state at the window starts and evaluates
    each window once more on the way back: the same numbers to rounding, in memory that does not
    grow with the windows' graphs. What `loss` closes over and is to be differentiated (once) must
    then be named in `closure`. What it draws from torch's generators (dropout) is the same again;
    what it changes on the side (running statistics) is changed once more.

    `watch(grads)` sees every evaluated gradient, detached; with `recompute` not again on the way
    back.
    """
    windows = count_windows(steps, window)
    _check(params)
    if not all(callable(getattr(dynamics, name, None)) for name in ("init", "window")):
        raise TypeError(
            f"dynamics: {type(dynamics).__name__} has no init and window; give multistep.SGD or "
            "multistep.Adam, or one of your own (multistep.inner.dynamics.Dynamics)"
        )
    state = dynamics.init(params) if state is None else state
    rebuild = recompute and not first_order and torch.is_grad_enabled()
    if rebuild and inside_transform():
        raise ValueError("recompute=True can't run inside torch.func transforms; leave it out")

    def advance(start: tuple[Tensors, State]) -> tuple[Tensors, State]:
        grads = _gradient(loss, start[0], constant=first_order)
        if watch is not None and not (rebuild and torch.is_grad_enabled()):
            watch({name: g.detach() for name, g in grads.items()})
        return dynamics.window(*start, grads, window)

    here = (params, state)
    if rebuild:
        here = chain(advance, here, windows, closure)
    else:
        for _ in range(windows):
            here = advance(here)
    return here


def _check(params: Tensors) -> None:
    if torch.is_inference_mode_enabled():
        raise ValueError("inference_mode() has no gradients to step along; use no_grad() instead")
    if not isinstance(params, Mapping):
        raise TypeError(
            f"params: give a dictionary of tensors, not {type(params).__name__}; of a module "
            "dict(module.named_parameters())"
        )
    for name, p in params.items():
        if not isinstance(p, Tensor) or not (p.is_floating_point() or p.is_complex()):
            kind = str(p.dtype) if isinstance(p, Tensor) else type(p).__name__
            raise TypeError(
                f"params[{name!r}]: {kind}, along which nothing can step; leave it out of params, "
                "and let the loss close over it"
            )


def _gradient(loss: Loss, params: Tensors, *, constant: bool) -> Tensors:
    """∂loss/∂params of those that it uses; differentiable unless `constant` or under no_grad."""
    if inside_transform():
        given = {name: p.detach() for name, p in params.items()} if constant else params
        grads = torch.func.grad(loss)(given)
        return {name: g.detach() for name, g in grads.items()} if constant else grads
    differentiable = torch.is_grad_enabled() and not constant
    with torch.enable_grad():
        # Constants become leaves of their own, so that nobody's .grad or graph is touched.
        inputs = {
            name: p if differentiable and p.requires_grad else p.detach().requires_grad_()
            for name, p in params.items()
        }
        value = loss(dict(inputs))
        if not isinstance(value, Tensor) or value.numel() != 1:
            what = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"loss: has to give a tensor with one number, not {what}; take a mean")
        if not value.requires_grad and inputs:
            raise ValueError("loss: depends on none of params; is it detached, or under no_grad()?")
        if not inputs:
            return {}
        keep = differentiable and _reaches_beyond(value, inputs, params)
        by = list(inputs.values())
        grads = torch.autograd.grad(value, by, create_graph=keep, allow_unused=True)
    return {name: g for name, g in zip(inputs, grads, strict=True) if g is not None}


def _reaches_beyond(value: Tensor, inputs: Tensors, params: Tensors) -> bool:
    """Whether the loss depends on anything differentiable but the leaves that we made ourselves.

    If not, its gradient is a constant to everybody else and should look like one.
    """
    if any(p.requires_grad for p in params.values()):
        return True
    own = {id(p) for p in inputs.values()}
    seen, todo = set(), [value.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in own:
            return True
        todo += [following for following, _ in node.next_functions]
    return False


def count_windows(steps: int, window: int) -> int:
    """K = T / n, or say why there is no such K."""
    for name, number in (("steps", steps), ("window", window)):
        if not hasattr(number, "__index__"):
            raise TypeError(f"{name}: a whole number, not {number!r}")
    if steps < 0 or window < 1:
        raise ValueError(f"need steps >= 0 and window >= 1, got steps={steps}, window={window}")
    if steps % window != 0:
        raise ValueError(
            f"steps={steps} is not divisible by window={window}: "
            "multi-step estimation needs whole windows (T = K·n)"
        )
    return steps // window


class Objective(Protocol):
    """A loss over task-parameters φ and parameters shared by all tasks, with its derivatives.

    φ is one flat tensor `[tasks, P]`. A tape is whatever `gradient` keeps for `hessian_product`;
    it must have an attribute `nbytes`. Derivatives by φ are new tensors, which are written over.
    """

    def gradient(self, phi: Tensor, *, keep: bool) -> tuple[Tensor, Any]:
        """∂L/∂φ `[tasks, P]`, and a tape (None unless `keep`)."""
        ...

    def hessian_product(self, tape: Any, direction: Tensor) -> tuple[Tensor, Tensor]:
        """(∂²L/∂φ² · w, (∂²L/∂shared ∂φ) · w) at the tape's φ, `[tasks, P]` and `[tasks, S]`."""
        ...


@dataclass
class Pullback:
    """Maps a cotangent of the final φ to cotangents of the first φ and of the shared parameters.

    `nbytes` is what is kept for the way back: tapes, or only φ at the window starts; `rebuilt`,
    after the way back, the largest tape that was made on it.
    """

    objective: Objective
    coefficients: Coefficients
    points: list[Any]
    recompute: bool
    nbytes: int
    rebuilt: int = 0

    def __call__(self, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """One sweep back over the windows, last first: eq. 12 (eq. 20) for SGD, transposed.

        With Λ = [λ, ν] of φ and v, H = ∂g/∂φ, and a window's coefficients b, c and d (eq. 13,
        eq. 21, eq. 22, eq. 23; with ω = μ = 0 they are those of eq. 14, eq. 15, eq. 24, eq. 25,
        eq. 26 and eq. 27; with n = 1 of eq. 4, eq. 6 and eq. 7):

            w = b_φ λ + b_v ν;  λ ← c_φ λ + c_v ν + H w;  ν ← d_φ λ_old + d_v ν

        and ∂L/∂shared grows by (∂g/∂shared)ᵀ w. The tapes are used up: call it once.
        """
        if not self.points:
            raise ValueError("nothing was kept for the way back, or it has been used up")
        b, lam = self.coefficients, cotangent
        nu = torch.zeros_like(lam)  # nobody reads the last velocity
        w = b.b_phi * lam
        shared: Any = None
        while self.points:
            tape = self.points.pop()
            if self.recompute:
                _, tape = self.objective.gradient(tape, keep=True)
                self.rebuilt = max(self.rebuilt, tape.nbytes)
            product, mixed = self.objective.hessian_product(tape, w)
            shared = mixed if shared is None else shared + mixed
            lam, nu, w = sgd_window.back(b, product, lam, nu, w)
        return lam, shared


@torch.no_grad()
def unroll_vjp(
    objective: Objective, phi: Tensor, dynamics: SGD, *, steps: int, window: int = 1,
    keep: bool = True, recompute: bool = False,
) -> tuple[Tensor, Pullback]:  # fmt: skip
    """`unroll` from zero velocity for a batch of tasks, and its pullback.

    `phi`: `[tasks, P]`. `keep=False` is for when nothing is pulled back (evaluation, first order).
    `recompute=True` keeps φ at each window start only and evaluates the gradient once more on the
    way back (12 instead of 9 forward-equivalents per window, memory of one window).
    """
    windows = count_windows(steps, window)
    coefficients = dynamics.coefficients(window)
    points: list[Any] = []
    nbytes = 0
    velocity = torch.zeros_like(phi)
    for _ in range(windows):
        gradient, tape = objective.gradient(phi, keep=keep and not recompute)
        if keep:
            points.append(phi if recompute else tape)
            nbytes += phi.numel() * phi.element_size() if recompute else tape.nbytes
        phi, velocity = sgd_window.ahead(coefficients, phi, velocity, gradient)
    return phi, Pullback(objective, coefficients, points, recompute, nbytes)
