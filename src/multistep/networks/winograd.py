"""Convolutions 3×3 of stride 1 with a border of 1 in fewer multiplications, and their derivatives.

Winograd's minimal filtering (Lavin & Gray 2016): with d a tile of the padded input of side m + 2, g
a kernel and y the tile of side m of the output,

    y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A

summed over the input's channels: (m + 2)² products of matrices [tiles, in] × [in, out] take the
place of 9 m² multiply-adds for each pair of channels, 2.25 times fewer with m = 2, 4 times with
m = 4. The map is bilinear, so the gradient by the kernels is Gᵀ [(A gy Aᵀ) ⊙ (Bᵀ d B)] G, summed
over tiles, and that by the input is a convolution with the kernels turned by 180°. Torch computes
the products, compiled loops (`multistep.machine_code`) the transforms. Rounding errors are those of
direct sums with m = 2, with m = 4 about ten times theirs (2e-6 of the result).
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Literal

import torch
from torch import Tensor

from multistep.machine_code import Code, Value, Whole, in_pieces, suit, width

Matrix = list[list[float]]

# By m: Bᵀ, G and Aᵀ, for the points 0, ±1, ∞ and 0, ±1, ±2, ∞.
MATRICES: dict[int, tuple[Matrix, Matrix, Matrix]] = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [
            [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
        ],
        [
            [1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}  # fmt: skip
TILES = 4096  # that are in the products at once, so that memory does not grow with the images


def suits(x: Tensor, weight: Tensor, *, by_weight: bool) -> bool:
    """Whether it is faster for maps and kernels like these (measured with 16 to 512 channels): by
    the kernels on maps of an even side, else from 8×8 pixels on.
    """
    outs, ins, *kernel = weight.shape
    height, side = x.shape[2:]
    return (
        kernel == [3, 3] and height == side and side % 2 == 0 and side >= (2 if by_weight else 8)
        and min(outs, ins) >= 32 and suit(x, weight, sizes=(outs, ins))
    )  # fmt: skip


def convolve(x: Tensor, weight: Tensor, *, turned: bool = False) -> Tensor:
    """Maps `[images, in, s, s]` and kernels `[out, in, 3, 3]` to `[images, out, s, s]`.

    `turned`: the gradient by the input, where `x` is that by the output, of `out` channels.
    """
    m, (outs, ins) = _tile(x), weight.shape[:2]
    x, weight = x.contiguous(), weight.contiguous()
    kernels = x.new_empty((m + 2) ** 2, outs, ins)
    _kernels("there", m, weight, kernels, turned)
    right = kernels if turned else kernels.transpose(1, 2)
    y = x.new_empty(x.shape[0], right.shape[2], *x.shape[2:])
    for part, result in zip(_parts(x), _parts(y), strict=True):
        _maps("result", m, result, torch.bmm(_maps("input", m, part), right))
    return y


def weight_gradient(x: Tensor, gy: Tensor) -> Tensor:
    """∂⟨gy, y⟩/∂kernels, `[out, in, 3, 3]`."""
    m = _tile(x)
    products: Tensor | None = None
    for part, g in zip(_parts(x.contiguous()), _parts(gy.contiguous()), strict=True):
        pair = _maps("output", m, g).transpose(1, 2), _maps("input", m, part)
        products = torch.bmm(*pair) if products is None else products.baddbmm_(*pair)
    assert products is not None
    gradient = x.new_empty(gy.shape[1], x.shape[1], 3, 3)
    _kernels("back", m, gradient, products, False)
    return gradient


def _tile(x: Tensor) -> int:  # m
    return 4 if x.shape[2] % 4 == 0 and x.shape[2] >= 8 else 2


def _parts(x: Tensor) -> tuple[Tensor, ...]:
    """Images that are transformed together."""
    return x.split(max(1, TILES * _tile(x) ** 2 // x.shape[2] ** 2))


def _maps(
    what: Literal["input", "output", "result"], m: int, x: Tensor, tiles: Tensor | None = None
) -> Tensor:
    """Maps to tiles `[(m + 2)², tiles, channels]`: Bᵀ d B of the input, A gy Aᵀ of the output's
    cotangent; or tiles to the result, Aᵀ y A.
    """
    images, channels, side, _ = x.shape
    border = int(what == "input")
    if tiles is None:
        tiles = x.new_empty((m + 2) ** 2, images * (side // m) ** 2, channels)
    loop = _map_loop(what, m)  # compiled once, before there are threads

    def run(first: int, last: int) -> None:
        room = x.new_zeros((side + 2 * border) ** 2 * width())
        sizes = first, last, channels, side // m, tiles.stride(0)
        loop(x.data_ptr(), tiles.data_ptr(), room.data_ptr(), *sizes)

    in_pieces(run, images)
    return tiles


def _kernels(
    way: Literal["there", "back"], m: int, kernels: Tensor, tiles: Tensor, turned: bool
) -> None:
    """There: kernels, `turned` by 180°, to G g Gᵀ `[(m + 2)², out, in]`; back: from such tiles."""
    loop = _kernel_loop(way, m)

    def run(first: int, last: int) -> None:
        room = kernels.new_empty(9 * width())
        sizes = first, last, kernels.shape[1], tiles.stride(0), int(turned)
        addresses = kernels.data_ptr(), tiles.data_ptr(), room.data_ptr()
        loop(*addresses, *sizes)

    in_pieces(run, kernels.shape[0])


@cache
def _map_loop(what: str, m: int) -> Callable[..., None]:
    """See `_maps`: a vector holds a pixel of so many channels, whose maps are brought into `room`
    one pixel after another, the border around them.
    """
    by_input, _, by_result = MATRICES[m]
    matrix = {"input": by_input, "output": _transposed(by_result), "result": by_result}[what]
    n, lanes, border = m + 2, width(), int(what == "input")
    used = n if border else m  # pixels of a row of a tile that lie in the maps
    code = Code(what, "fffnnnnn", lanes, fused=False)
    maps, tiles, room, first, last, channels, along, stride = code.arguments
    side = along * m
    wide = side + 2 * border

    def exchange(start: Value) -> None:
        """Between maps and room."""

        def row(channel: Value, number: Value) -> None:
            here = code.place(maps, start + (channel * side + number) * side)
            lines = ((number + border) * wide + border) * lanes
            there = code.place(room, lines + channel)

            def pixels(i: Value) -> None:
                for k in range(2):
                    pair = (here, i + k), (there, i * lanes + k * lanes)
                    code.copy(*(pair[::-1] if what == "result" else pair))

            code.loop(0, side, 2, pixels)

        code.loop(0, lanes, 1, lambda c: code.loop(0, side, 1, partial(row, c)))

    def block(image: Value, start: Value) -> None:
        """One image's tiles of a vector of channels."""
        here = (image * channels + start) * (side * side)
        if what != "result":
            exchange(here)

        def tile(i: Value, j: Value) -> None:
            corner = code.place(room, (i * wide + j) * (m * lanes))
            pixels = corner, _square(used, lambda a, b: wide * (a * lanes) + b * lanes)
            spot = code.place(tiles, ((image * along + i) * along + j) * channels + start)
            pair = pixels, (spot, _square(n, lambda a, b: stride * (n * a + b)))
            _transform(code, matrix, *(pair[::-1] if what == "result" else pair))

        code.loop(0, along, 1, lambda i: code.loop(0, along, 1, partial(tile, i)))
        if what == "result":
            exchange(here)

    code.loop(first, last, 1, lambda i: code.loop(0, channels, lanes, partial(block, i)))
    return code.compiled()


@cache
def _kernel_loop(way: str, m: int) -> Callable[..., None]:
    """See `_kernels`: a vector holds one of the nine weights of so many input channels."""
    g, n, lanes = MATRICES[m][1], m + 2, width()
    code = Code(way, "fffnnnnn", lanes, fused=False)
    kernels, tiles, room, first, last, ins, stride, turned = code.arguments

    def block(out: Value, start: Value) -> None:
        number = out * ins + start

        def exchange(channel: Value) -> None:
            for k in range(9):
                weight = (number + channel) * 9 + k + turned * (8 - 2 * k)  # or the (8 - k)th
                pair = (kernels, weight), (room, channel + k * lanes)
                code.copy(*(pair if way == "there" else pair[::-1]))

        weights = room, _square(3, lambda a, b: (3 * a + b) * lanes)
        spots = code.place(tiles, number), _square(n, lambda a, b: stride * (n * a + b))
        if way == "there":
            code.loop(0, lanes, 1, exchange)
            _transform(code, g, weights, spots)
        else:
            _transform(code, _transposed(g), spots, weights)
            code.loop(0, lanes, 1, exchange)

    code.loop(first, last, 1, lambda o: code.loop(0, ins, lanes, partial(block, o)))
    return code.compiled()


Square = tuple[Any, list[list[Whole]]]  # a pointer and where from there the vectors lie


def _transform(code: Code, matrix: Matrix, source: Square, target: Square) -> None:
    """M d Mᵀ of the vectors at one square of places, written to another."""
    pointer, rows = source
    columns = [
        _map(code, matrix, [code.load(pointer, place) for place in column])
        for column in zip(*rows, strict=True)
    ]
    pointer, rows = target
    for row, values in zip(rows, zip(*columns, strict=True), strict=True):
        for place, value in zip(row, _map(code, matrix, values), strict=True):
            code.store(value, pointer, place)


def _map(code: Code, matrix: Matrix, values: Sequence[Value]) -> list[Value]:
    """The matrix times a column."""
    results = []
    for row in matrix:
        terms = [(c, v) for c, v in zip(row, values, strict=True) if c]
        (factor, value), *rest = sorted(terms, key=lambda term: term[0] != 1)
        total = value if factor == 1 else value * factor
        for factor, value in rest:
            if abs(factor) == 1:
                total = total + value if factor == 1 else total - value
            else:
                total = code.fma(factor, value, total)
        results.append(total)
    return results


def _square(side: int, place: Callable[[int, int], Whole]) -> list[list[Whole]]:
    return [[place(a, b) for b in range(side)] for a in range(side)]


def _transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]
