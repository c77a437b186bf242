"""Optimisers as differentiable maps Φ on (parameters, state): the dynamics of the inner loop.

A dynamics object has its settings, frozen, and three pure functions:

    init(params) -> state                             the state before the first step
    step(params, state, grads) -> (params, state)     one step, s_{t+1} = Φ(s_t, g_t)  (eq. 2)
    window(params, state, grads, n)                   n steps that reuse one gradient, Φ̂ⁿ (eq. 11)

`params` and `grads` are `dict[str, Tensor]`; every map is element-wise, so leading task axes and
flattened parameters need no special care. A parameter that is missing in `grads` (or None) has
gradient zero: momentum and weight decay still move it. Weight decay is coupled, i.e. added to the
gradient at the current parameters, as in `torch.optim`.
"""

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from numbers import Real
from typing import Any, Protocol

import torch
from torch import Tensor

from multistep.inner import adam_window
from multistep.inner.adam_window import AdamWindow

Tensors = dict[str, Tensor]
State = dict[str, Any]


class Dynamics(Protocol):
    """What `multistep.inner.unroll` needs of an inner optimiser. One with learned rates:

    class MetaSGD(Dynamics):
        def __init__(self, rates):  # of each parameter, in its shape
            self.rates = rates

        def init(self, params):
            return {}

        def window(self, params, state, grads, n):
            new = {k: p - n * self.rates[k] * grads[k] for k, p in params.items()}
            return new, state
    """

    def init(self, params: Tensors) -> State: ...

    def window(
        self, params: Tensors, state: State, grads: Tensors, n: int
    ) -> tuple[Tensors, State]: ...

    def step(self, params: Tensors, state: State, grads: Tensors) -> tuple[Tensors, State]:
        """A window of one."""
        return self.window(params, state, grads, 1)


def check(params: Tensors) -> None:
    """Raise TypeError, one line, for what isn't a dense tensor of real or complex numbers, or is of
    a byte each (float8), which torch doesn't add.
    """
    given: Mapping[str, Any] = params
    for name, p in given.items():
        if isinstance(p, Mapping):
            raise TypeError(
                f"params[{name!r}]: a dictionary; give one that is flat, such as "
                "dict(module.named_parameters())"
            )
        numbers = isinstance(p, Tensor) and (p.is_floating_point() or p.is_complex())
        if not numbers or p.element_size() < 2:
            kind = str(p.dtype) if isinstance(p, Tensor) else type(p).__name__
            raise TypeError(
                f"params[{name!r}]: {kind}, along which nothing can step; leave it out of params, "
                "and let the loss close over it"
            )
        if p.layout != torch.strided:
            raise TypeError(
                f"params[{name!r}]: {p.layout}; give it dense (to_dense()), and let the loss make "
                "it sparse"
            )


def _numbers(of: Any) -> None:
    """Make plain numbers of settings. Raises TypeError or ValueError for those that torch.optim's,
    too, doesn't take.
    """
    for name, value in vars(of).items():
        below = 1.0 if name == "betas" else math.inf
        if name == "betas" and not (isinstance(value, tuple) and len(value) == 2):
            raise TypeError(f"betas: two numbers such as (0.9, 0.999), not {value!r}")
        for one in value if isinstance(value, tuple) else (value,):
            if not isinstance(one, Real):
                raise TypeError(
                    f"{name} is a number, not {type(one).__name__}; rates that are learned take a "
                    "dynamics of their own, see multistep.inner.dynamics.Dynamics"
                )
            if not 0 <= float(one) < below:
                raise ValueError(f"{name} is {one}; it is at least 0 and below {below}")
        plain = tuple(map(float, value)) if isinstance(value, tuple) else float(value)
        object.__setattr__(of, name, plain)


def whole(name: str, number: Any, least: int) -> int:
    """A number of steps as Python has it. Raises TypeError or ValueError for what is none."""
    try:
        found = operator.index(number)
    except TypeError:
        raise TypeError(f"{name}: a whole number, not {number!r}") from None
    if found < least:
        raise ValueError(f"{name}: at least {least}, not {found}")
    return found


@dataclass(frozen=True)
class Coefficients:
    """What n steps of SGD with one frozen gradient g do to φ and v, in six numbers:

        φ' = c_φ φ + d_φ v + b_φ g,    v' = c_v φ + d_v v + b_v g

    b and c are Lemma 1's (eq. 30 and 31), of index n + 1; d is what it leaves out by v₁ = 0. With
    A = [[1-ηω, -ημ], [ω, μ]] of eq. 7, [c d] = Aⁿ and b = Σ_{i<n} Aⁱ [-η, 1]ᵀ, the sum of eq. 13
    and eq. 23; without momentum and decay it is [-nη, 1] (eq. 25, eq. 26). Since g and ω φ always
    come together, c_φ = 1 + ω b_φ and c_v = ω b_v.
    """

    b_phi: float
    b_v: float
    d_phi: float
    d_v: float
    weight_decay: float

    @property
    def c_phi(self) -> float:
        return _float32(1.0 + self.weight_decay * self.b_phi)

    @property
    def c_v(self) -> float:
        return _float32(self.weight_decay * self.b_v)


@dataclass(frozen=True)
class SGD(Dynamics):
    """SGD with momentum: v' = μ v + g + ω φ, φ' = φ - η v' (eq. 5; eq. 28 and 29).

    State: `{"velocity": {name: tensor}}`, zero at the start of every task (v₁ = 0).
    """

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _numbers(self)

    def init(self, params: Tensors) -> State:
        check(params)
        return {"velocity": {name: torch.zeros_like(p) for name, p in params.items()}}

    def window(
        self, params: Tensors, state: State, grads: Tensors, n: int
    ) -> tuple[Tensors, State]:
        """N steps with the same gradient (eq. 11) in closed form; equals n calls of `step`."""
        b = self.coefficients(n)
        new_params, velocity = {}, {}
        for name, p in params.items():
            drive = _gradient(grads, name, p)
            if self.weight_decay:
                drive = torch.add(drive, p, alpha=self.weight_decay)
            new_p, new_v = torch.add(p, drive, alpha=b.b_phi), b.b_v * drive
            v = _moment(state, "velocity", name, p)
            if self.momentum:  # not in place: where tasks are mapped, v may be larger
                new_p = torch.add(new_p, v, alpha=b.d_phi)
                new_v = torch.add(new_v, v, alpha=b.d_v)
            new_params[name], velocity[name] = new_p, new_v
        return new_params, {"velocity": velocity}

    def coefficients(self, n: int) -> Coefficients:
        """The coefficients of a window of n steps."""
        return _coefficients(self.lr, self.momentum, self.weight_decay, whole("n", n, 1))


@cache
def _coefficients(lr: float, momentum: float, weight_decay: float, n: int) -> Coefficients:
    b_phi, b_v = -lr, 1.0  # eq. 44: one step
    d_phi, d_v = -lr * momentum, momentum
    for _ in range(n - 1):
        old_phi, old_v = b_phi, b_v
        b_phi = (1 - lr * weight_decay) * old_phi - lr * momentum * old_v - lr  # eq. 34
        b_v = weight_decay * old_phi + momentum * old_v + 1.0  # eq. 32
        # Aⁿ [-η, 1]ᵀ is the difference, and A's last column is μ [-η, 1]ᵀ.
        d_phi, d_v = momentum * (b_phi - old_phi), momentum * (b_v - old_v)
    b_phi, b_v, d_phi, d_v = map(_float32, (b_phi, b_v, d_phi, d_v))
    return Coefficients(b_phi, b_v, d_phi, d_v, weight_decay)


def _float32(x: float) -> float:
    """Infinite where float32 has no such number: the run then diverges, and torch takes it."""
    return x if abs(x) <= torch.finfo(torch.float32).max else math.copysign(math.inf, x)


@dataclass(frozen=True)
class Adam(Dynamics):
    """Adam with bias correction, ε outside the root, L2-coupled decay, as `torch.optim.Adam`.

    State: `{"mean": {...}, "variance": {...}, "step": int}`. Carry the state into the inner loop
    where the paper does (Algorithm 1): from a fresh state one window moves by n η sign(g), so the
    meta-gradient through g vanishes.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _numbers(self)

    def init(self, params: Tensors) -> State:
        check(params)
        return {
            "mean": {name: torch.zeros_like(p) for name, p in params.items()},
            "variance": {name: torch.zeros_like(p) for name, p in params.items()},
            "step": 0,
        }

    def window(
        self, params: Tensors, state: State, grads: Tensors, n: int
    ) -> tuple[Tensors, State]:
        """N steps with the same gradient: only g is frozen; decay, moments and bias corrections
        are taken anew at every sub-step. Element-wise work, no network evaluation.
        """
        (beta1, beta2), n = self.betas, whole("n", n, 1)
        count = whole("state: step", _of(state, "step"), 0)
        rates = [beta1, 1 - beta1, beta2, 1 - beta2, self.weight_decay]
        for t in range(count + 1, count + n + 1):
            root = (1 - beta2**t) ** 0.5
            rates += [self.lr * root / (1 - beta1**t), self.eps * root]
        new_params, mean, variance = {}, {}, {}
        for name, p in params.items():
            if p.is_complex():
                raise TypeError(
                    f"params[{name!r}]: {p.dtype}, of which Adam has no second moment; give it as "
                    "torch.view_as_real, which the loss undoes"
                )
            moments = (_moment(state, of, name, p) for of in ("mean", "variance"))
            start = p, *moments, _gradient(grads, name, p)
            steps = partial(_adam_steps, rates)
            if adam_window.suits(n, *start):
                end = AdamWindow.apply(*start, rates, steps)
            else:
                end = steps(*start)
            new_params[name], mean[name], variance[name] = end
        return new_params, {"mean": mean, "variance": variance, "step": count + n}


def _adam_steps(
    rates: list[float], p: Tensor, mean: Tensor, variance: Tensor, g: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """A window of Adam in torch's operations (see `AdamWindow`)."""
    (beta1, _, beta2, _, decay), each = rates[:5], iter(rates[5:])
    for alpha, eps in zip(each, each, strict=True):
        drive = torch.add(g, p, alpha=decay) if decay else g
        p, mean, variance = _AdamStep.apply(p, mean, variance, drive, beta1, beta2, alpha, eps)
    return p, mean, variance


def _of(state: State, *keys: str) -> Any:
    """What a state has under a key, and there under the next. Raises ValueError."""
    value: Any = state
    for key in keys:
        try:
            value = value[key]
        except (KeyError, TypeError, IndexError):
            raise ValueError(
                f"state: lacks {' '.join(keys)}; give what init of these dynamics, or an earlier "
                "unroll of the same params, gave"
            ) from None
    return value


def _moment(state: State, of: str, name: str, like: Tensor) -> Tensor:
    """A parameter's tensor in a state. Raises ValueError if it isn't of its shape and kind."""
    value: Tensor = _of(state, of, name)
    if not isinstance(value, Tensor) or (value.shape, value.dtype) != (like.shape, like.dtype):
        raise ValueError(
            f"state: {of} {name} is no tensor {list(like.shape)} of {like.dtype} like the "
            "parameter; give what init of these dynamics, or an earlier unroll of the same params, "
            "gave"
        )
    return value


def _gradient(grads: Tensors, name: str, like: Tensor) -> Tensor:
    grad = grads.get(name)
    return torch.zeros_like(like) if grad is None else grad


def _above_zero(variance: Tensor) -> Tensor:
    """At least the smallest normal number; with the slope 1 from there on and 0 below, which
    torch's clamp has at its bound in some versions and not in others (changed in 2.14).
    """
    tiny = torch.finfo(variance.dtype).tiny
    return torch.where(variance >= tiny, variance, tiny)


class _AdamStep(torch.autograd.Function):
    """(φ, m, v, g) → (φ', m', v'): one step of `Adam` on one tensor, its derivative written out.

        m' = β₁ m + (1 - β₁) g,    v' = β₂ v + (1 - β₂) g²,    φ' = φ - α m' / (√v' + ε)

    α and ε hold the bias corrections. Autograd would keep five tensors for the way back, this keeps
    three and passes over memory a third less often. It can be differentiated twice.

    The slope of √ at zero (a parameter that never had a gradient) is taken as zero, not infinity:
    that would meet a zero gradient and poison the meta-gradient with NaN. The root of the smallest
    normal number, which stands for that of zero, is lost beside any ε in use.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        p: Tensor, mean: Tensor, variance: Tensor, g: Tensor, beta1: float, beta2: float,
        alpha: float, eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        # Not in place: where tasks are mapped, g may be larger.
        mean = torch.add(beta1 * mean, g, alpha=1 - beta1)
        variance = torch.addcmul(beta2 * variance, g, g, value=1 - beta2)
        root = _above_zero(variance).sqrt_()
        return torch.addcdiv(p, mean, root.add_(eps), value=-alpha), mean, variance

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.rates = inputs[4:]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(inputs[3], *output[1:])
        ctx.save_for_forward(inputs[3], *output[1:])

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        g, mean, variance = ctx.saved_tensors
        beta1, beta2, alpha, eps = ctx.rates
        d_p, d_mean, d_variance, d_g = (
            torch.zeros_like(mean) if t is None else t for t in tangents[:4]
        )
        d_mean = beta1 * d_mean + (1 - beta1) * d_g
        d_variance = beta2 * d_variance + 2 * (1 - beta2) * g * d_g
        root = _above_zero(variance).sqrt()
        scale = root + eps
        slope = torch.where(variance >= torch.finfo(variance.dtype).tiny, 0.5 / root, 0.0)
        d_step = (d_mean - mean * slope * d_variance / scale) / scale
        return d_p - alpha * d_step, d_mean, d_variance

    @staticmethod
    def backward(
        ctx: Any, d_p: Tensor | None, d_mean: Tensor | None, d_variance: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        g, mean, variance = ctx.saved_tensors
        beta1, beta2, alpha, eps = ctx.rates
        if d_p is not None and any(ctx.needs_input_grad[1:4]):
            root = _above_zero(variance).sqrt()
            scale = root + eps
            d_step = d_p * -alpha / scale
            slope = d_step * mean / (scale * root)
            d_root = torch.where(variance >= torch.finfo(variance.dtype).tiny, slope, 0.0)
            d_mean = d_step if d_mean is None else d_mean + d_step
            d_variance = -0.5 * d_root if d_variance is None else d_variance - 0.5 * d_root
        d_g = None
        if ctx.needs_input_grad[3]:
            d_g = None if d_mean is None else (1 - beta1) * d_mean
            if d_variance is not None:
                second = 2 * (1 - beta2) * g * d_variance
                d_g = second if d_g is None else d_g + second
        d_mean = None if d_mean is None else beta1 * d_mean
        d_variance = None if d_variance is None else beta2 * d_variance
        return d_p, d_mean, d_variance, d_g, None, None, None, None
