"""A window of SGD on flat vectors and its pullback, each in one pass over memory.

A rule is written once, in an arithmetic whose `fma` is a·x + y: torch's operations or those of a
compiled loop, with the same bits.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from multistep.inner.dynamics import Coefficients
from multistep.machine_code import Code, Value, suit, width

Rule = Callable[..., tuple[Any, ...]]

FEW = 2**14  # floats for which a loop isn't worth calling


def ahead(b: Coefficients, phi: Tensor, velocity: Tensor, g: Tensor) -> tuple[Tensor, ...]:
    """φ and v after a window with the gradient g (eq. 13). v and g are written over."""
    numbers = b.weight_decay, b.b_phi, b.b_v, b.d_phi, b.d_v
    return _pass(_ahead, numbers, (phi, velocity, g), (g, velocity))


def back(
    b: Coefficients, product: Tensor, lam: Tensor, nu: Tensor, w: Tensor
) -> tuple[Tensor, ...]:
    """λ and ν before a window, with the product H w, and the w of the window before (see
    `multistep.inner.unroll.Pullback`). The product, ν and w are written over.
    """
    numbers = b.c_phi, b.c_v, b.d_phi, b.d_v, b.b_phi, b.b_v
    return _pass(_back, numbers, (product, lam, nu), (product, nu, w))


def _ahead(fma: Any, numbers: Sequence[Any], phi: Any, v: Any, g: Any) -> tuple[Any, ...]:
    decay, b_phi, b_v, d_phi, d_v = numbers
    drive = fma(decay, phi, g)
    return fma(d_phi, v, fma(b_phi, drive, phi)), fma(b_v, drive, d_v * v)


def _back(fma: Any, numbers: Sequence[Any], product: Any, lam: Any, nu: Any) -> tuple[Any, ...]:
    c_phi, c_v, d_phi, d_v, b_phi, b_v = numbers
    lam, nu = fma(c_v, nu, fma(c_phi, lam, product)), fma(d_phi, lam, d_v * nu)
    return lam, nu, fma(b_v, nu, b_phi * lam)


def _plain(a: float, x: Tensor, y: Tensor) -> Tensor:
    return torch.add(y, x, alpha=a)


def _pass(
    rule: Rule, numbers: Sequence[float], read: Sequence[Tensor], into: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """What the rule makes of the vectors: new ones, or in a compiled loop those of `into`."""
    count, tensors = read[0].numel(), (*read, *into)
    if count < FEW or not suit(*tensors):
        return rule(_plain, numbers, *read)
    flat = [t.view(-1) for t in tensors]
    given = torch.tensor(numbers, dtype=torch.float32, device="cpu")
    whole = count - count % (2 * width())
    _loop(rule, len(numbers), len(read), len(into))(whole, *(t.data_ptr() for t in (given, *flat)))
    if whole < count:
        rest = [t[whole:] for t in flat]
        ends = rule(_plain, numbers, *rest[: len(read)])
        for place, end in zip(rest[len(read) :], ends, strict=True):
            place.copy_(end)
    return tuple(into)


@cache
def _loop(rule: Rule, numbers: int, read: int, written: int) -> Callable[..., None]:
    """Over the floats up to a last one: (last, numbers, vectors that are read, and written)."""
    code = Code("window", "nf" + "f" * (read + written), 2 * width(), fused=False)
    last, given, *places = code.arguments
    factors = [code.scalar(given, i) for i in range(numbers)]

    def body(i: Value) -> None:
        values = rule(code.fma, factors, *(code.load(place, i) for place in places[:read]))
        for value, place in zip(values, places[read:], strict=True):
            code.store(value, place, i)

    code.loop(0, last, code.columns, body)
    return code.compiled()
