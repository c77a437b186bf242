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

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from multistep.machine_code import Loop, in_pieces, suit, width

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
        and suit(x, weight) and min(outs, ins) >= 32 and outs % width() == ins % width() == 0
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


def _tile(x: Tensor) -> int:
    """M."""
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
        sizes = first, last, channels, side, tiles.stride(0)
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
    n, border = m + 2, int(what == "input")
    used = n if border else m  # pixels of a row of a tile that lie in the maps
    loop = Loop(what, 3, 5)
    maps, tiles, room, first, last, channels, side, stride = loop.arguments
    make, product = loop.make, loop.product
    plane, wide = product(side, side), make.add(side, loop.number(2 * border))
    along = make.udiv(side, loop.number(m))

    def exchange(block: Any) -> None:
        """Between maps and room."""

        def row(channel: Any, number: Any) -> None:
            here = loop.at(maps, block, product(channel, plane), product(number, side))
            lines = make.add(number, loop.number(border))
            there = loop.at(room, product(lines, wide, width()), border * width(), channel)

            def one(i: Any) -> None:
                pair = loop.at(here, i), loop.at(there, product(i, width()))
                loop.copy(*(pair[::-1] if what == "result" else pair))

            loop.over(side, one)

        loop.over(width(), lambda c: loop.over(side, lambda r: row(c, r)))

    def block(image: Any, start: Any) -> None:
        """One image's tiles of a vector of channels."""
        here = product(make.add(product(image, channels), start), plane)
        if what != "result":
            exchange(here)

        def tile(i: Any, j: Any) -> None:
            number = make.add(product(make.add(product(image, along), i), along), j)
            corner = loop.at(room, product(i, m, wide, width()), product(j, m, width()))
            pixels = _square(
                used, lambda a, b: loop.at(corner, product(a, wide, width()), b * width())
            )
            spot = loop.at(tiles, product(number, channels), start)
            spots = [
                [loop.at(spot, product(n * a + b, stride)) for b in range(n)] for a in range(n)
            ]
            pair = (spots, pixels) if what == "result" else (pixels, spots)
            _transform(loop, matrix, *pair)

        loop.over(along, lambda i: loop.over(along, lambda j: tile(i, j)))
        if what == "result":
            exchange(here)

    loop.over(last, lambda b: loop.over(channels, lambda c: block(b, c), step=width()), first)
    return loop.compiled()


@cache
def _kernel_loop(way: str, m: int) -> Callable[..., None]:
    """See `_kernels`: a vector holds one of the nine weights of so many input channels."""
    g, n = MATRICES[m][1], m + 2
    loop = Loop(way, 3, 5)
    kernels, tiles, room, first, last, ins, stride, turned = loop.arguments
    make, product = loop.make, loop.product
    turn = make.icmp_signed("!=", turned, loop.number(0))

    def block(out: Any, start: Any) -> None:
        number = make.add(product(out, ins), start)

        def exchange(channel: Any) -> None:
            mine = loop.at(kernels, product(9, number), product(9, channel))
            for k in range(9):
                place = loop.at(mine, make.select(turn, loop.number(8 - k), loop.number(k)))
                pair = place, loop.at(room, k * width(), channel)
                loop.copy(*(pair if way == "there" else pair[::-1]))

        weights = _square(3, lambda a, b: loop.at(room, (3 * a + b) * width()))
        spot = loop.at(tiles, number)
        spots = _square(n, lambda a, b: loop.at(spot, product(n * a + b, stride)))
        if way == "there":
            loop.over(width(), exchange)
            _transform(loop, g, weights, spots)
        else:
            _transform(loop, _transposed(g), spots, weights)
            loop.over(width(), exchange)

    loop.over(last, lambda o: loop.over(ins, lambda i: block(o, i), step=width()), first)
    return loop.compiled()


def _transform(
    loop: Loop, matrix: Matrix, source: list[list[Any]], target: list[list[Any]]
) -> None:
    """M d Mᵀ of the vectors at one square of places, written to another."""
    columns = [loop.map(matrix, [loop.load(row[j]) for row in source]) for j in range(len(source))]
    for i, places in enumerate(target):
        for value, place in zip(loop.map(matrix, [c[i] for c in columns]), places, strict=True):
            loop.store(value, place)


def _square(side: int, place: Callable[[int, int], Any]) -> list[list[Any]]:
    return [[place(a, b) for b in range(side)] for a in range(side)]


def _transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]
