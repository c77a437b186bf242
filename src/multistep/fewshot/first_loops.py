"""The compiled loops of the first block: its maps out of the images, and sums over its patches.

Rules and formulas are those of `multistep.fewshot.first_block`. A patch is read where it lies in
the padded images, at offsets that are known when the loops are compiled; what is neither picked by
the pooling nor let through by ReLU never leaves the registers. Codes are those of
`multistep.fewshot.norm_loops`: one byte a cell.
"""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from multistep.fewshot.norm_loops import picked, rectified
from multistep.machine_code import Code, Value, Whole, columns
from multistep.networks.conv4 import ConvShape

# tasks, filters, cells, floats of a task's images; where cells begin in them; terms of a patch and
# where they lie; the images
SIZES = "nnnntntf"
ARGUMENTS = {
    "forward": SIZES + "ffb",  # weights and shift, y, codes
    "tangent": SIZES + "fbf",  # weights and shift, codes, ẏ
    "sums": SIZES + "bff",  # codes, g, sums
}


@cache
def terms(s: ConvShape) -> Tensor:
    """Where the terms of a patch lie in the padded images, channels fastest."""
    side, line = s.size + 2 * s.padding, torch.arange(s.kernel)
    return ((line * side)[:, None, None] + line[:, None] + _channels(s)).flatten()


def _channels(s: ConvShape) -> Tensor:
    return torch.arange(s.channels) * (s.size + 2 * s.padding) ** 2


@lru_cache(maxsize=64)
def table(s: ConvShape, images: int, pooled: bool) -> Tensor:
    """Where the cells of a task's images begin."""
    side, step = s.size + 2 * s.padding, s.stride * (2 if pooled else 1)
    place = step * torch.arange(s.output // 2 if pooled else s.output)
    image = torch.arange(images) * s.channels * side**2
    return (image[:, None, None] + place[:, None] * side + place).flatten()


@cache
def rule(name: str, s: ConvShape, filters: int, pooled: bool) -> Callable[..., None]:
    """One of the three functions."""
    most = 2 if pooled or name == "sums" else 4
    code = Code(name, ARGUMENTS[name], columns(filters, most))
    side = s.size + 2 * s.padding
    # Of a cell's patches from its first one.
    patches = [s.stride * (i * side + j) for i in (0, 1) for j in (0, 1)] if pooled else [0]
    tasks, channels, cells, size, table, count, places, images, *rest = code.arguments

    def task(t: Value) -> None:
        def block(b: Value) -> None:
            first, row = t * size, t * (count + 1) * channels + b
            at = Place(
                lambda cell: first + code.at(table, cell),
                lambda cell: cell * (tasks * channels) + t * channels + b,
                lambda term: row + term * channels,
            )
            if name == "sums":
                _sums(code, s, patches, (cells, images, places, count, *rest), at)
            else:
                _maps(code, name, patches, (cells, images, places, count, *rest), at)

        code.loop(0, channels, code.columns, block)

    code.loop(0, tasks, 1, task)
    return code.compiled()


class Place(NamedTuple):
    """Where a cell begins in the images and in the maps, and a term in weights or sums."""

    image: Callable[[Value], Value]
    map: Callable[[Value], Value]
    term: Callable[[Value], Value]


def _maps(c: Code, name: str, patches: Sequence[int], given: Any, at: Place) -> None:
    cells, images, places, count, weights, one, other = given
    y, codes = (one, other) if name == "forward" else (other, one)

    def several(size: int, here: Value) -> None:
        starts = [at.image(here + i) + p for i in range(size) for p in patches]

        def add(k: Value, *sums: Value) -> list[Value]:
            weight, offset = c.load(weights, at.term(k)), c.at(places, k)
            return [
                s + c.scalar(images, start + offset) * weight
                for s, start in zip(sums, starts, strict=True)
            ]

        shift = c.load(weights, at.term(count))
        sums = c.loop(0, count, 1, add, [shift] * len(starts))[1:]
        for i in range(size):
            place, values = at.map(here + i), sums[i * len(patches) :][: len(patches)]
            if name == "forward":
                largest, code = rectified(c, values)
                c.store(largest, y, place)
                c.store(code, codes, place)
            else:
                c.store(picked(c, c.load(codes, place), values), y, place)

    here: Whole = 0
    for size in (2, 1) if len(patches) > 1 else (6, 1):
        [here] = c.loop(here, cells - (size - 1), size, partial(several, size))


def _sums(c: Code, s: ConvShape, patches: Sequence[int], given: Any, at: Place) -> None:
    """Of one channel of the images after the other; with each Σ g, the last of the sums."""
    cells, images, places, count, codes, g, out = given
    side, reach = s.size + 2 * s.padding, range(s.kernel)
    window = [i * side + j for i in reach for j in reach]

    def channel(number: Value) -> None:
        plane = c.at(places, number)

        def add(cell: Value, *sums: Value) -> list[Value]:
            place, base, found = at.map(cell), at.image(cell) + plane, list(sums)
            code, value = c.load(codes, place), c.load(g, place)
            for n, patch in enumerate(patches):
                mine = c.choose(code.equals(n), value, 0)
                for k, term in enumerate(window):
                    found[k] = found[k] + c.scalar(images, base + (term + patch)) * mine
                found[-1] = found[-1] + mine
            return found

        *terms, total = c.sums(cells, len(window) + 1, add)
        for k, term in enumerate(terms):
            c.store(term, out, at.term(number + k * s.channels))
        c.store(total, out, at.term(count))

    c.loop(0, s.channels, 1, channel)
