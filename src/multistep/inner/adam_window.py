"""A window of Adam on one tensor as one function: n steps with the same gradient, in one pass.

Written out as steps (`multistep.inner.dynamics`) it goes over memory some ten times a step and
thirty times on the way back, and keeps each step's moments for it. Here one compiled loop goes over
it once each way; the way back takes the steps anew from the window's start, in registers.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from multistep.inner.recompute import vjp
from multistep.machine_code import Code, Value, in_pieces, suit, width

Plain = Callable[[Tensor, Tensor, Tensor, Tensor], Sequence[Tensor]]

MOST = 8  # steps that fit into registers and are worth compiling


def suits(steps: int, *tensors: Tensor) -> bool:
    """Whether the loops take so many steps on these tensors, all of one size."""
    if steps > MOST or not suit(*tensors):
        return False
    return all(t.is_contiguous() and t.numel() >= width() for t in tensors)


class AdamWindow(torch.autograd.Function):
    """(φ, m, v, g) to φ, m and v after the window.

    `rates`: β₁, 1 - β₁, β₂, 1 - β₂ and ω, then α and ε of each step, the bias corrections in
    them. `plain`: the same window in torch's operations, for derivatives of higher order.
    """

    @staticmethod
    def forward(
        ctx: Any, p: Tensor, mean: Tensor, variance: Tensor, g: Tensor, rates: list[float],
        plain: Plain,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        ctx.save_for_backward(p, mean, variance, g)
        ctx.rates, ctx.plain = rates, plain
        ctx.set_materialize_grads(False)
        new = torch.empty_like(p), torch.empty_like(p), torch.empty_like(p)
        _run("there", rates, [p, mean, variance, g], new)
        return new

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        given, wanted = ctx.saved_tensors, ctx.needs_input_grad[:4]
        further = torch.is_grad_enabled()
        # Some at once have no memory of their own.
        if further or not suit(*(c for c in cotangents if c is not None)):
            with torch.enable_grad():
                # Tensors of its own: g depends on φ, and what comes by g is for g's gradient.
                own = [t.view_as(t) for t in given]
                inputs = [t for t, w in zip(own, wanted, strict=True) if w]
                found = iter(vjp(ctx.plain(*own), inputs, cotangents, create_graph=further))
            return *(next(found) if w else None for w in wanted), None, None
        results = [torch.empty_like(given[0]) if w else None for w in wanted]
        dense = [None if c is None else c.contiguous() for c in cotangents]
        _run("back", ctx.rates, [*given, *dense], results)
        return *results, None, None


def _run(
    way: Literal["there", "back"], rates: list[float], read: Sequence[Tensor | None],
    written: Sequence[Tensor | None],
) -> None:  # fmt: skip
    """Go over all tensors; one that is missing is read as zeros, or not kept."""
    count = next(t for t in read if t is not None).numel()
    numbers = torch.tensor(rates, dtype=torch.float32, device="cpu")
    loop = _loop(way, len(rates) // 2 - 2)

    def run(first: int, last: int) -> None:
        zeros, sink = torch.zeros(2, width(), dtype=torch.float32, device="cpu")
        places = [zeros if t is None else t for t in read]
        places += [sink if t is None else t for t in written]
        moving = [int(t is not None) for t in (*read, *written)]
        end = count if last == count // width() else last * width()
        addresses = (t.data_ptr() for t in (*places, numbers))
        loop(*addresses, first * width(), end, *moving)

    in_pieces(run, count // width())


@cache
def _loop(way: str, steps: int) -> Callable[..., None]:
    """Over the floats from a first to a last one, at least a vector's. For each tensor a 1, or a 0
    where it is no tensor but one vector that stands for all.
    """
    tensors = 7 if way == "there" else 11
    code = Code(way, "f" * (tensors + 1) + "n" * (tensors + 2), width(), fused=False)
    places, numbers = code.arguments[:tensors], code.arguments[tensors]
    first, last, *moving = code.arguments[tensors + 1 :]
    beta1, rest1, beta2, rest2, decay, *each = (
        code.scalar(numbers, i) for i in range(5 + 2 * steps)
    )
    tiny, fma = torch.finfo(torch.float32).tiny, code.fma

    def body(i: Value) -> None:
        spots = [(p, i * m) for p, m in zip(places, moving, strict=True)]
        p, mean, variance, g = (code.load(*spot) for spot in spots[:4])
        taken = []
        for alpha, eps in zip(each[::2], each[1::2], strict=True):
            drive = fma(decay, p, g)
            mean = fma(rest1, drive, beta1 * mean)
            variance = fma(rest2 * drive, drive, beta2 * variance)
            small = code.row(tiny) > variance
            root = code.sqrt(code.choose(small, tiny, variance))
            scale = alpha / (root + eps)
            p = p - scale * mean
            taken.append((drive, mean, small, root, scale, eps))
        if way == "there":
            for value, spot in zip((p, mean, variance), spots[4:], strict=True):
                code.store(value, *spot)
            return
        by_p, by_mean, by_variance = (code.load(*spot) for spot in spots[4:7])
        by_g = code.row(0)
        for drive, mean, small, root, scale, eps in reversed(taken):
            # φ' = φ - α m' / (√v' + ε), and half of 1 / √v' for the root.
            by_mean = by_mean - scale * by_p
            slope = 0.5 * scale * (by_p * mean) / (root * (root + eps))
            by_variance = by_variance + code.choose(small, 0, slope)
            by_drive = fma(2 * (rest2 * drive), by_variance, rest1 * by_mean)
            by_p, by_g = fma(decay, by_drive, by_p), by_g + by_drive
            by_mean, by_variance = beta1 * by_mean, beta2 * by_variance
        for value, spot in zip((by_p, by_mean, by_variance, by_g), spots[7:], strict=True):
            code.store(value, *spot)

    code.loop(first, last - (width() - 1), width(), body)
    body(last - width())  # what is left, some of it a second time
    return code.compiled()
