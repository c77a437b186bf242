"""Claims that follow from formulas: computed here from Lemma 1's recursion and `inner`, no results.

Each function below is a number that a claim names; in double precision.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from multistep import stats
from multistep.pages import claims
from multistep.pages.spec import Wants

RATE, MOMENTUM, DECAY = 0.1, 0.9, 0.0001  # η, μ, ω of appendix C's example


class Spec(claims.Claim):
    """A number of this module, by the name of its function."""

    scaled: ClassVar[bool] = False
    function: str

    def wants(self) -> Wants:
        return Wants()

    def mistakes(self, params: Any = None) -> list[str]:
        known = self.function in FUNCTIONS
        return [] if known else [f"function: none named {self.function!r} in closed_form.py"]

    @property
    def evidence(self) -> dict[str, Any]:
        return {"formula": f"{__name__}.{self.function}"}

    def parts(self, scale: claims.Scale) -> Iterator[claims.Part]:
        value = round(FUNCTIONS[self.function](), 12)  # beyond that machines differ
        yield claims.Part(self.function, stats.Estimate(value, exact=True))


def source(name: str) -> str:
    """The code of a function here, after that of the functions here which it calls."""
    there = {n: f for n, f in globals().items() if inspect.isfunction(f)}
    names = [name]
    for each in names:  # it grows by what they call
        names += [n for n in there[each].__code__.co_names if n in there.keys() - {*names}]
    return "\n\n\n".join(inspect.getsource(there[n]).rstrip() for n in reversed(names))


def lemma1(t: int, rate: float = RATE, momentum: float = MOMENTUM, decay: float = DECAY) -> Any:
    """b^v, c^v, b^φ, c^φ at 1 .. `t`, rows of an array: eqs. 32 to 35 from v₁ = 0, φ₁ = φ."""
    rows = [(0.0, 0.0, 0.0, 1.0)]
    for _ in range(t - 1):
        bv, cv, bp, cp = rows[-1]
        bv, cv = momentum * bv + 1 + decay * bp, momentum * cv + decay * cp
        # φ' = φ - η v' (eq. 29), which eqs. 34 and 35 write out
        rows.append((bv, cv, bp - rate * bv, cp - rate * cv))
    return np.array(rows)


def one_step(
    rate: float = RATE, momentum: float = MOMENTUM, decay: float = DECAY
) -> tuple[float, ...]:
    """η̃, ω̃ and μ̃ of eqs. 52 to 54, that a window of two steps would need."""
    b5 = lemma1(5, rate, momentum, decay)[4, 2]
    other = rate * (momentum + 2 - rate * decay)
    its_decay = (momentum * decay + 2 * decay - rate * decay**2) / (momentum + 2 - rate * decay)
    return other, its_decay, -b5 / other + other * its_decay - 2


def proposition1_one_step() -> float:
    """b̃₄^φ of appendix C: after three steps of the only one-step SGD that is left."""
    rate, decay, momentum = one_step()
    return float(lemma1(4, rate, momentum, decay)[3, 2])


def proposition1_two_step() -> float:
    """b₇^φ of appendix C: after three windows of two steps."""
    return float(lemma1(7)[6, 2])


def proposition1_contradiction() -> float:
    """|b̃₄^φ - b₇^φ|, which would have to be zero."""
    return abs(proposition1_one_step() - proposition1_two_step())


def lemma1_against_steps() -> float:
    """Largest distance of Lemma 1's φ_t from eqs. 28 and 29 taken step by step, t = 1 .. 9."""
    import torch

    from multistep.inner.dynamics import SGD

    phi, gradient = (torch.tensor(x, dtype=torch.float64) for x in ([0.7, -2.0], [1.3, 0.4]))
    sgd = SGD(RATE, MOMENTUM, DECAY)
    now, state = {"phi": phi}, sgd.init({"phi": phi})
    off = 0.0
    for _, _, b, c in lemma1(9):
        off = max(off, float((now["phi"] - (b * gradient + c * phi)).abs().max()))
        now, state = sgd.step(now, state, {"phi": gradient})
    return off


def first_coefficients() -> float:
    """Largest error of eqs. 44 to 47 and of eq. 53 being ω itself."""
    rows = lemma1(3)
    printed = (
        (rows[1, 2], -RATE),
        (rows[1, 3], 1 - RATE * DECAY),
        (rows[2, 2], -RATE * (MOMENTUM + 2 - RATE * DECAY)),
        (rows[2, 3], -RATE * MOMENTUM * DECAY + (1 - RATE * DECAY) ** 2),
        (one_step()[1], DECAY),
    )
    return max(abs(a - b) for a, b in printed)


def window_jacobian() -> float:
    """Largest error of eq. 13: Σ Aⁱ [-η, 1]ᵀ, i < n, against autograd through n steps, n to 8."""
    import torch

    from multistep.inner.dynamics import SGD

    a = np.array([[1 - RATE * DECAY, -RATE * MOMENTUM], [DECAY, MOMENTUM]])
    off = 0.0
    for n in range(1, 9):
        total = sum(np.linalg.matrix_power(a, i) for i in range(n)) @ np.array([-RATE, 1.0])

        def state_after(g: Any, n: int = n) -> tuple[Any, Any]:
            now = {"phi": torch.tensor(0.7, dtype=torch.float64)}
            state = {"velocity": {"phi": torch.tensor(-0.3, dtype=torch.float64)}}
            for _ in range(n):
                now, state = SGD(RATE, MOMENTUM, DECAY).step(now, state, {"phi": g})
            return now["phi"], state["velocity"]["phi"]

        at = torch.tensor(0.4, dtype=torch.float64)
        found = torch.autograd.functional.jacobian(state_after, at)
        off = max(off, *(abs(float(j) - t) for j, t in zip(found, total, strict=True)))
    return off


def sgd_equivalence() -> float:
    """Eqs. 14 and 15: of plain SGD, eight steps in windows of four against two with four times the
    rate; the largest difference of φ and of the meta-gradient.
    """
    one, other = (_meta_gradient(0.05 * k, 0.0, 0.0, 8 // k, 4 // k) for k in (1, 4))
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def gradients_evaluated() -> float:
    """Eq. 12: gradients of the inner objective that eight steps in windows of four evaluate."""
    calls: list[None] = []
    _meta_gradient(0.05, 0.9, 0.0001, 8, 4, calls)
    return float(len(calls))


def hessian_vector_operations() -> float:
    """Floating-point operations of H u, and of the gradient that it differentiates, over those of a
    gradient alone.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as alone:
        omniglot_derivatives(5, second=False)
    with FlopCounterMode(display=False) as both:
        omniglot_derivatives(5, second=True)
    return both.get_total_flops() / alone.get_total_flops()


def hessian_vector_bytes() -> float:
    """What the same two keep at the peak, images and filters included."""
    from multistep.transfer.saved import saved_bytes

    with saved_bytes() as alone:
        omniglot_derivatives(100, second=False)
    with saved_bytes() as both:
        omniglot_derivatives(100, second=True)
    return both() / alone()


def omniglot_derivatives(images: int, *, second: bool) -> None:
    """A gradient, and the product of its derivative with a vector if that is asked for: on four
    convolutions of 64 filters with batch norm, as [11] has them for Omniglot.
    """
    import torch
    from torch.nn.functional import batch_norm, conv2d, relu

    filters = [torch.full((64, n, 3, 3), 0.01, requires_grad=True) for n in (1, 64, 64, 64)]
    x = torch.ones(images, 1, 28, 28)
    for weight in filters:
        x = conv2d(x, weight, stride=2, padding=1)
        x = relu(batch_norm(x, None, None, training=True))
    found = torch.autograd.grad(x.square().sum(), filters, create_graph=second)
    if second:
        torch.autograd.grad(found, filters, [torch.ones_like(w) for w in filters])


def _meta_gradient(
    rate: float,
    momentum: float,
    decay: float,
    steps: int,
    window: int,
    calls: list[None] | None = None,
) -> tuple[float, ...]:
    """φ after an unroll of a smooth inner objective, and the gradient of an outer one to φ₁."""
    import torch

    import multistep

    a = torch.tensor([[1.5, 0.3, -0.2], [0.3, 0.8, 0.1], [-0.2, 0.1, 1.1]], dtype=torch.float64)
    start = torch.tensor([0.5, -1.0, 0.8], dtype=torch.float64, requires_grad=True)

    def inner(params: Any) -> Any:
        if calls is not None:
            calls.append(None)
        phi = params["phi"]
        return 0.5 * phi @ a @ phi + torch.cos(2 * phi).sum()

    dynamics = multistep.SGD(rate, momentum, decay)
    end, _ = multistep.unroll(inner, {"phi": start}, dynamics, steps=steps, window=window)
    outer = torch.sin(end["phi"]).sum() + (end["phi"] ** 2).sum()
    (gradient,) = torch.autograd.grad(outer, start)
    return (*end["phi"].tolist(), *gradient.tolist())


def realised_windows(n: int, windows: int, rate: float = 0.4) -> float:
    """How far plain steps come to `windows` windows of n, η and μ as one and two windows need them:
    the largest difference of φ and of the meta-gradient.
    """
    import multistep

    c = multistep.SGD(rate, MOMENTUM, DECAY).coefficients(n)
    other = (-c.b_phi, c.d_phi * c.b_v / c.b_phi, DECAY)
    ours = _meta_gradient(rate, MOMENTUM, DECAY, windows * n, n)
    return max(abs(a - b) for a, b in zip(ours, _meta_gradient(*other, windows, 1), strict=True))


FUNCTIONS: dict[str, Callable[[], float]] = {
    f.__name__: f
    for f in (
        hessian_vector_operations,
        hessian_vector_bytes,
        proposition1_one_step,
        proposition1_two_step,
        proposition1_contradiction,
        lemma1_against_steps,
        first_coefficients,
        window_jacobian,
        sgd_equivalence,
        gradients_evaluated,
    )
}
