"""The inner loop: exact, estimated in windows, or first-order; the heart of the paper.

Two functions compute the same thing:

* `unroll` is the definition. It is differentiated by autograd, works for any loss and any
  dynamics, and keeps the graph of every evaluated gradient or rebuilds it window by window.
* `unroll_vjp` is the adjoint recursion (eq. 12 and 13 transposed) for SGD, for an objective that
  brings its own gradient and Hessian-vector product. It needs one Hessian-vector product per
  window and can keep only the window starts, so that memory does not grow with the steps.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from multistep.inner import sgd_window
from multistep.inner.dynamics import SGD, Coefficients, Dynamics, State, Tensors, check, whole
from multistep.inner.recompute import chain, flatten
from multistep.machine_code import forward_mode, inside_transform

Loss = Callable[[Tensors], Tensor]


def unroll(
    loss: Loss, params: Tensors, dynamics: Dynamics, *, steps: int, window: int = 1,
    state: State | None = None, first_order: bool = False, recompute: bool = False,
    closure: Iterable[Tensor] = (), watch: Callable[[Tensors], None] | None = None,
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
    grow with the windows' graphs. The result can be differentiated once, what `loss` closes over
    and what the dynamics have that requires a gradient must be named in `closure`, and a state is
    of dictionaries, tuples and lists. What it draws from torch's global generators (dropout) is the
    same again; what it changes on the side (running statistics) is changed once more. A loss that
    has other values the second time is told, and one whose gradient has another norm (of what is
    detached at random the value doesn't tell). One of which only second derivatives are others
    isn't: draw all that is random before, or from torch's global generators.

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
    closed = [] if isinstance(closure, Tensor) else list(closure)
    if isinstance(closure, Tensor) or not all(isinstance(c, Tensor) for c in closed):
        raise TypeError("closure: give a list of tensors, the very ones that loss closes over")
    closed = _apart(closed)
    state = dynamics.init(params) if state is None else state
    rebuild = recompute and not first_order and torch.is_grad_enabled()
    if rebuild and (inside_transform() or forward_mode()):
        raise ValueError(
            "recompute=True can't run inside torch.func transforms or forward mode; leave it out"
        )
    values: dict[int, Tensor] = {}  # `_seen` of each window that will be taken again
    again: dict[int, Tensor] = {}

    def advance(start: tuple[Tensors, State], number: int) -> tuple[Tensors, State]:
        back = number in values
        named = closed if rebuild and not back else None
        params, state = start
        before = _versions(params)
        value, grads = _gradient(loss, params, constant=first_order, named=named)
        _same(params, before, "loss")
        if rebuild:
            (again if back else values)[number] = _seen(value, grads)
        if back and number == 0:
            _check_again(values, again)
        if watch is not None and not back:
            watch({name: g.detach() for name, g in grads.items()})
        with nullcontext() if named is None else torch.enable_grad():
            new = dynamics.window(params, state, grads, window)
        of = f"dynamics: {type(dynamics).__name__}.window"
        _same(params, before, of)
        if not (isinstance(new, tuple) and len(new) == 2 and set(new[0]) == set(params)):
            raise ValueError(f"{of} has to give the same params, all of them, and the state")
        return new if named is None else _constant(new, [start, named], of)

    here = (dict(params), state)
    if rebuild:
        here = chain(advance, here, windows, closed)
    else:
        for number in range(windows):
            here = advance(here, number)
    return here


def _check(params: Tensors) -> None:
    if torch.is_inference_mode_enabled():
        raise ValueError("inference_mode() has no gradients to step along; use no_grad() instead")
    if not isinstance(params, Mapping):
        raise TypeError(
            f"params: give a dictionary of tensors, not {type(params).__name__}; of a module "
            "dict(module.named_parameters())"
        )
    check(params)
    for name, p in params.items():
        if p.is_inference():
            raise ValueError(
                f"params[{name!r}]: made under inference_mode(), so without gradients; clone() it"
            )


def _versions(params: Tensors) -> list[int]:
    return [p._version for p in params.values()]


def _same(params: Tensors, before: list[int], who: str) -> None:
    """Raise ValueError if somebody wrote over a parameter."""
    for (name, p), version in zip(params.items(), before, strict=True):
        if p._version != version:
            raise ValueError(
                f"{who} changes params[{name!r}] in place (as max_norm of an embedding does); "
                "make a new tensor"
            )


def _constant(new: Any, known: Any, of: str) -> Any:
    """What a window gave, detached. Raises ValueError if it depends on other than is `known`."""
    (tensors, rebuild), (given, _) = flatten(new), flatten(known)
    for t in tensors:
        if (left := _beyond(t, given)) is not None:
            raise ValueError(
                f"closure: lacks a tensor {list(left.shape)} that requires a gradient and that "
                f"{of.removeprefix('dynamics: ')} reads; name it there, or detach it"
            )
    return rebuild([t.detach() for t in tensors])


def _gradient(
    loss: Loss, params: Tensors, *, constant: bool, named: Sequence[Tensor] | None
) -> tuple[Tensor, Tensors]:
    """The loss, and its ∂/∂params of those that it uses; differentiable unless `constant` or under
    no_grad. Raises ValueError if it depends on something else than they and the `named`.
    """
    if inside_transform():
        given = {name: p.detach() for name, p in params.items()} if constant else params
        grads, value = torch.func.grad_and_value(loss)(given)
        return value, {name: g.detach() for name, g in grads.items()} if constant else grads
    differentiable = torch.is_grad_enabled() and not constant

    def own(p: Tensor) -> Tensor:
        if differentiable and p.requires_grad:
            alias: Tensor = torch.ops.aten.alias(p)  # a view would refuse sparse gradients
            return alias
        with torch.no_grad():  # a view keeps the tangent of forward mode
            return (p.detach() if constant else p.view_as(p)).requires_grad_()

    with torch.enable_grad():
        # Each is a tensor of its own, so that nobody's .grad, graph or hook is touched, and of two
        # that are one tensor, or depend on one another, each has its partial derivative.
        inputs = {name: own(p) for name, p in params.items()}
        value = loss(dict(inputs))
        if not isinstance(value, Tensor) or value.numel() != 1:
            what = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"loss: has to give a tensor with one number, not {what}; take a mean")
        if not inputs:
            return value, {}
        by = list(inputs.values())
        if named is not None and (left := _beyond(value, [*by, *named])) is not None:
            raise ValueError(
                f"closure: lacks a tensor {list(left.shape)} that loss closes over and that "
                "requires a gradient; name it there, or detach it"
            )
        grads = dict.fromkeys(inputs)
        if value.requires_grad:
            keep = any(p.requires_grad for p in params.values()) or _beyond(value, by) is not None
            found = torch.autograd.grad(
                value, by, create_graph=differentiable and keep, allow_unused=True
            )
            grads = dict(zip(inputs, found, strict=True))
    used = {name: g for name, g in grads.items() if g is not None}
    if not used:
        raise ValueError(
            "loss: depends on none of params; is it detached, under no_grad(), or of a module's "
            "own parameters, where torch.func.functional_call takes others?"
        )
    return value, {
        n: torch.zeros_like(inputs[n]) + g if g.is_sparse else g for n, g in used.items()
    }


def _beyond(value: Tensor, known: Sequence[Tensor]) -> Tensor | None:
    """A leaf that `value` depends on otherwise than by the tensors that are `known`.

    If there is none beside the leaves that we made ourselves, its gradient is a constant to
    everybody else and should look like one.
    """
    own, stops = {id(p) for p in known}, {(p.grad_fn, p.output_nr) for p in known}
    for step in _upstream([(value.grad_fn, value.output_nr)], stops):
        leaf: Tensor | None = getattr(step[0], "variable", None)
        if leaf is not None and id(leaf) not in own:
            return leaf
    return None


def _upstream(todo: list[Any], seen: set[Any]) -> Iterator[Any]:
    """The steps of autograd's graph from some on, up to those that were `seen`."""
    while todo:
        step = todo.pop()
        if step[0] is None or step in seen:
            continue
        seen.add(step)
        yield step
        todo += step[0].next_functions


def _apart(closure: Sequence[Tensor]) -> list[Tensor]:
    """Each once. Raises ValueError if one is computed from another, whose gradient would then have
    that by the former twice.
    """
    closed = {id(t): t for t in closure}
    steps = {(t.grad_fn, t.output_nr): t for t in closed.values() if t.grad_fn is not None}
    above = [step for t, _ in steps for step in t.next_functions]
    for step in _upstream(above, set()):
        leaf = closed.get(id(getattr(step[0], "variable", None)))
        if (found := steps.get(step, leaf)) is not None:
            raise ValueError(
                f"closure: from a tensor {list(found.shape)} of it another one is computed; "
                "leave out what loss doesn't close over itself, and of what it does let it have "
                "t.view_as(t)"
            )
    return list(closed.values())


def _seen(value: Tensor, grads: Tensors) -> Tensor:
    """What a loss has to have again: its value and the norm of its gradient, `[2]`."""
    length = torch.linalg.vector_norm  # not rounded to bfloat16 where the loss has float32
    norms = [length(g.detach(), dtype=torch.promote_types(g.dtype, value.dtype)).to(value)
             for g in grads.values()]  # fmt: skip
    norm = length(torch.stack([value.new_zeros(()), *norms]))
    return torch.stack([value.detach().reshape(()), norm])


def _check_again(first: Mapping[int, Tensor], again: Mapping[int, Tensor]) -> None:
    """Raise RuntimeError if the loss of a window or its gradient was another one on the way back;
    on a GPU when the device comes to it, since nobody waits for that here.
    """
    a, b = (torch.stack([values[number] for number in first]) for values in (first, again))
    rounding = max(1e-3, 4 * torch.finfo(a.dtype).eps)
    other = (a - b).abs().amax(0) > rounding * a.abs().amax(0)  # False of what isn't finite
    torch._assert_async(
        other.any().logical_not(),
        "loss: has other values or gradients when recompute=True evaluates it again; draw its "
        "mini-batches and random numbers before unroll, or leave recompute out",
    )


def count_windows(steps: int, window: int) -> int:
    """K = T / n, or say why there is no such K."""
    steps, window = whole("steps", steps, 0), whole("window", window, 1)
    if steps % window != 0:
        raise ValueError(
            f"steps={steps} is not divisible by window={window}: "
            "multi-step estimation needs whole windows (T = K·n)"
        )
    return steps // window


class Objective(Protocol):
    """A loss over task-parameters φ and parameters shared by all tasks, with its derivatives.

    φ is one tensor of all tasks in the objective's own layout, such as `[tasks·P]` of networks and
    `[tasks, ways, F+1]` of heads. A tape is whatever `gradient` keeps for `hessian_product`; it
    must have an attribute `nbytes`. Derivatives by φ are new tensors, which are written over.
    """

    def gradient(self, phi: Tensor, *, keep: bool) -> tuple[Tensor, Any]:
        """∂L/∂φ in the shape of φ, and a tape (None unless `keep`)."""
        ...

    def hessian_product(self, tape: Any, direction: Tensor) -> tuple[Tensor, Tensor]:
        """(∂²L/∂φ² · w, (∂²L/∂shared ∂φ) · w) at the tape's φ, each of every task."""
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

    `phi`: in the objective's layout. `keep=False` is for when nothing is pulled back (evaluation,
    first order). `recompute=True` keeps φ at each window start only and evaluates the gradient once
    more on the way back (12 instead of 9 forward-equivalents per window, memory of one window).
    """
    windows = count_windows(steps, window)
    if not hasattr(dynamics, "coefficients"):
        what = type(dynamics).__name__
        raise TypeError(f"dynamics: {what}, but the pullback written out is SGD's; take unroll")
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
