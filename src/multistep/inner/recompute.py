"""A chain of equal maps that keeps only where each began, and evaluates it again on the way back.

The memory of the way back is then one map's graph, whatever the length of the chain (checkpointing
by Griewank & Walther 2000 with every link a checkpoint; what the released code of L2T-ww does with
its inner steps).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from numbers import Number
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

Rebuild = Callable[[Sequence[Tensor]], Any]


def chain(
    advance: Callable[[Any, int], Any], start: Any, count: int, closure: Sequence[Tensor]
) -> Any:
    """`advance(here, number)` applied `count` times to `start`, nested dictionaries and tuples with
    tensors. The way back draws from torch's generators what was drawn before, such as the masks of
    dropout, and has the autocast of before.

    The result is differentiable, once, with respect to the tensors of `start` and to those of
    `closure`, which are all that `advance` closes over and that is to be differentiated.
    """
    tensors, rebuild = flatten(start)
    links = _Links(advance, count, rebuild, len(tensors))
    ends = _Chain.apply(links, *tensors, *closure)
    assert links.result is not None
    return links.result(ends)


@dataclass
class _Links:
    advance: Callable[[Any, int], Any]
    count: int
    rebuild: Rebuild
    tensors: int  # at the first link's start; those of the closure follow
    result: Rebuild | None = None


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, links: _Links, *inputs: Tensor) -> Any:
        tensors: Sequence[Tensor] = inputs[: links.tensors]
        rebuild = links.rebuild
        starts: list[Tensor] = []
        ctx.links, ctx.rebuilds = links, []
        ctx.autocast = _autocast(inputs)
        for number in range(links.count):
            ctx.rebuilds.append((rebuild, len(starts), _generators()))
            starts += tensors
            tensors, rebuild = flatten(links.advance(rebuild(tensors), number))
        # Those of the closure, too: whether they are still what they were is then looked at.
        ctx.save_for_backward(*inputs[links.tensors :], *starts)
        links.result = rebuild
        # What comes out as it went in still has to be an output of this node.
        return tuple(t.view_as(t) if any(t is i for i in inputs) else t for t in tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "recompute=True: the result can be differentiated once; leave create_graph=True "
                "out, or recompute"
            )
        links: _Links = ctx.links
        needed = ctx.needs_input_grad[1:]
        named = len(needed) - links.tensors
        closure, starts = ctx.saved_tensors[:named], ctx.saved_tensors[named:]
        closed = [c for c, need in zip(closure, needed[links.tensors :], strict=True) if need]
        by_closed: list[Tensor | None] = [None] * len(closed)
        for number, (rebuild, first, drawn_with) in reversed(list(enumerate(ctx.rebuilds))):
            tensors, starts = starts[first:], starts[:first]
            # Before the first link only what somebody asked for is differentiated.
            wanted = [
                (t.is_floating_point() or t.is_complex()) and (number > 0 or needed[i])
                for i, t in enumerate(tensors)
            ]
            leaves = [t.detach().requires_grad_(w) for t, w in zip(tensors, wanted, strict=True)]
            with torch.enable_grad(), _as_they_were(drawn_with), ExitStack() as stack:
                for kind, options in ctx.autocast.items():
                    stack.enter_context(torch.autocast(kind, **options))
                ends, _ = flatten(links.advance(rebuild(leaves), number))
            opened = [leaf for leaf in leaves if leaf.requires_grad]
            grads = vjp(ends, [*opened, *closed], cotangents)
            by_opened = iter(grads[: len(opened)])
            cotangents = tuple(next(by_opened) if w else None for w in wanted)
            by_closed = [_sum(a, b) for a, b in zip(by_closed, grads[len(opened) :], strict=True)]
        rest = iter(by_closed)
        return None, *cotangents, *(next(rest) if n else None for n in needed[links.tensors :])


def _autocast(tensors: Sequence[Tensor]) -> dict[str, dict[str, Any]]:
    """What `torch.autocast` is told now, of each kind of device that is used."""
    kinds = {"cpu", *(t.device.type for t in tensors)}
    return {
        kind: {
            "enabled": torch.is_autocast_enabled(kind),
            "dtype": torch.get_autocast_dtype(kind),
            "cache_enabled": torch.is_autocast_cache_enabled(),
        }
        for kind in kinds
        if torch.amp.is_autocast_available(kind)
    }


def _generators() -> list[Tensor]:
    """The states of torch's generators, of CUDA's where it is in use and can be asked."""
    asked = torch.cuda.is_initialized() and not torch.cuda.is_current_stream_capturing()
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if asked else [])]


@contextmanager
def _as_they_were(states: Sequence[Tensor]) -> Iterator[None]:
    """With the generators in earlier states; afterwards as they are now."""
    setters, now = (torch.set_rng_state, torch.cuda.set_rng_state), _generators()
    try:
        for setter, state in zip(setters, states, strict=False):
            setter(state)
        yield
    finally:
        for setter, state in zip(setters, now, strict=False):
            setter(state)


def vjp(
    ends: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor | None], *,
    create_graph: bool = False,
) -> Sequence[Tensor | None]:  # fmt: skip
    """Cotangents of the inputs from those of the ends; of these None and constants add nothing."""
    pairs = [
        (end, c)
        for end, c in zip(ends, cotangents, strict=True)
        if c is not None and end.requires_grad
    ]
    if not pairs or not inputs:
        return [None] * len(inputs)
    outputs, weights = zip(*pairs, strict=True)
    return torch.autograd.grad(
        outputs, inputs, weights, create_graph=create_graph, allow_unused=True
    )


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


def flatten(value: Any) -> tuple[list[Tensor], Rebuild]:
    """The tensors in nested dictionaries, tuples and lists, and the way back from such a list.
    Raises ValueError for other things than tensors, numbers and text: they could hide a tensor.
    """
    leaves, spec = tree_flatten(value)
    for leaf in leaves:
        if not isinstance(leaf, Tensor | Number | str | None):
            raise ValueError(
                f"state: has a {type(leaf).__name__}, into which recompute=True doesn't look; make "
                "it of dictionaries, tuples and lists with tensors and numbers"
            )
    where = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    rest = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    def rebuild(tensors: Sequence[Tensor]) -> Any:
        filled: list[Any] = list(rest)
        for i, t in zip(where, tensors, strict=True):
            filled[i] = t
        return tree_unflatten(filled, spec)

    return [leaves[i] for i in where], rebuild
