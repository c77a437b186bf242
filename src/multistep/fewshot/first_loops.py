"""The compiled loops of the first block: its maps out of the images, and sums over its patches.

Rules and formulas are those of `multistep.fewshot.first_block`. A patch is read where it lies in
the padded images, at offsets that are known when the loops are compiled; what is neither picked by
the pooling nor let through by ReLU never leaves the registers. Codes are those of
`multistep.fewshot.norm_loops`: one byte a cell.
"""

from collections.abc import Sequence
from functools import cache, lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from multistep.fewshot import lanes
from multistep.fewshot.lanes import Code, Value
from multistep.networks.conv4 import ConvShape

# tasks, channels, cells, floats of a task's images; where cells begin in them; the images
SIZES = "nnnntf"
ARGUMENTS = {
    "forward": SIZES + "ffb",  # weights and shift, y, codes
    "tangent": SIZES + "fbf",  # weights and shift, codes, ẏ
    "sums": SIZES + "bff",  # codes, g, sums
}
TERMS = 12  # of a patch whose sums are in registers together


def offsets(s: ConvShape, pooled: bool) -> tuple[list[int], list[int]]:
    """Where the terms of a patch lie in the padded images, and the patches of a cell."""
    side, reach = s.size + 2 * s.padding, range(s.kernel)
    terms = [(c * side + i) * side + j for i in reach for j in reach for c in range(s.channels)]
    return terms, [s.stride * (i * side + j) for i in (0, 1) for j in (0, 1)] if pooled else [0]


@lru_cache(maxsize=64)
def table(s: ConvShape, images: int, pooled: bool) -> Tensor:
    """Where the cells of a task's images begin."""
    side, step = s.size + 2 * s.padding, s.stride * (2 if pooled else 1)
    place = step * torch.arange(s.output // 2 if pooled else s.output)
    image = torch.arange(images) * s.channels * side**2
    return (image[:, None, None] + place[:, None] * side + place).flatten()


@cache
def rules(s: ConvShape, filters: int, pooled: bool) -> dict[str, Any]:
    """The three functions."""
    module = lanes.ir.Module()
    terms, patches = offsets(s, pooled)
    for name, arguments in ARGUMENTS.items():
        code = Code(
            module, name, arguments, lanes.columns(filters, 2 if pooled or name == "sums" else 4)
        )
        _each(code, name, terms, patches)
        code.make.ret_void()
    return lanes.compiled(module, {name: len(a) for name, a in ARGUMENTS.items()})


def _each(c: Code, name: str, terms: Sequence[int], patches: Sequence[int]) -> None:
    """Tasks, and their columns as many as are gone through together."""
    tasks, channels, cells, size, table, images, *rest = c.arguments

    def task(t: Value) -> None:
        def block(b: Value) -> None:
            place, first = t * channels + b, t * size
            row = t * (len(terms) + 1) * channels + b

            def at(cell: Value) -> Value:
                return cell * (tasks * channels) + place

            def start(cell: Value) -> Value:
                return first + c.at(table, cell)

            if name == "sums":
                _sums(c, terms, patches, (cells, channels, images, *rest), at, start, row)
            else:
                _maps(c, terms, patches, (cells, channels, images, *rest), at, start, row)

        c.loop(0, channels, c.columns, block)

    c.loop(0, tasks, 1, task)


def _maps(
    c: Code,
    terms: Sequence[int],
    patches: Sequence[int],
    given: Any,
    at: Any,
    start: Any,
    row: Value,
) -> None:
    cells, channels, images, weights, one, other = given
    forward = one.type.pointee == lanes.ir.FloatType()
    y, codes = (one, other) if forward else (other, one)

    def several(size: int, here: Value) -> None:
        starts = [start(here + i) for i in range(size)]
        sums = [[c.load(weights, row + channels * len(terms))] * len(patches) for _ in starts]
        for k, term in enumerate(terms):
            weight = c.load(weights, row + channels * k)
            sums = [
                [
                    s + c.scalar(images, first + (term + p)) * weight
                    for s, p in zip(found, patches, strict=True)
                ]
                for first, found in zip(starts, sums, strict=True)
            ]
        for i, values in enumerate(sums):
            place = at(here + i)
            if forward:
                best, which = c.largest(values)
                positive = best > 0
                c.store(c.choose(positive, best, 0), y, place)
                c.store(c.choose(positive, which, c.code(len(values))), codes, place)
            else:
                code, found = c.load(codes, place), c.row(0)
                for n, value in enumerate(values):
                    found = c.choose(code.equals(n), value, found)
                c.store(found, y, place)

    here = c.number(0)
    for size in (2, 1) if len(patches) > 1 else (6, 1):
        [here] = c.loop(here, cells - (size - 1), size, lambda i, size=size: several(size, i))


def _sums(
    c: Code,
    terms: Sequence[int],
    patches: Sequence[int],
    given: Any,
    at: Any,
    start: Any,
    row: Value,
) -> None:
    cells, channels, images, codes, g, out = given
    for first in range(0, len(terms) + 1, TERMS):
        part = list(terms[first : first + TERMS])
        last = len(part) < TERMS  # Σ g too

        def add(
            part: list[int], last: bool, cell: Value, *sums: Value
        ) -> list[Value]:  # fmt: skip
            place, base = at(cell), start(cell)
            code, value, found = c.load(codes, place), c.load(g, place), list(sums)
            for n, patch in enumerate(patches):
                picked = c.choose(code.equals(n), value, 0)
                for k, term in enumerate(part):
                    found[k] = found[k] + c.scalar(images, base + (term + patch)) * picked
                if last:
                    found[-1] = found[-1] + picked
            return found

        for k, total in enumerate(c.sums(cells, len(part) + last, partial(add, part, last))):
            c.store(total, out, row + channels * (first + k))
