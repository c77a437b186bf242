"""The compiled loops of batch norm with ReLU, and where there is one the pooling between them.

Rules and formulas are those of `multistep.fewshot.pooled_norm`; without pooling a cell is one pixel
instead of four. Of the map that comes in nothing is copied: what is normalised is computed again in
registers wherever it is needed. Of a cell stays what goes on, y, and one byte: which of its pixels
was the largest, or their number where ReLU stops it.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from multistep.machine_code import Code, Value, Whole

# tasks, channels, rows; cells; rows in none; table of rows, cell by cell and then those in none.
SIZES = "nnnnnt"
ARGUMENTS = {
    "forward": SIZES + "fnfn" + "ffbf",  # γ, its step from task to task, β; x, y, codes, stats
    "backward": SIZES + "fn" + "fbffff",  # γ; x, codes, stats, gy, gx, sums
    "tangent": SIZES + "fnfnfn" + "fbffff",  # γ, γ̇, β̇; x, codes, stats, ẋ, ẏ, means
    "adjoint": SIZES + "fnfn" + "fbffffffff",  # γ, γ̇; x, codes, stats, gy, sums, ẋ, means, ġy,
    # ġx, their sums
}


@cache
def rule(name: str, columns: int, pixels: int, eps: float) -> Callable[..., None]:
    """One of the four functions for cells of so many pixels."""
    code = Code(name, ARGUMENTS[name], columns)
    write: dict[str, Callable[..., None]]
    write = {"forward": _forward, "backward": _backward, "tangent": _tangent, "adjoint": _adjoint}
    tasks, channels = code.arguments[:2]

    def block(t: Value, b: Value) -> None:
        write[name](Column(code, pixels, eps, t, b), *code.arguments[len(SIZES) :])

    code.loop(0, tasks, 1, lambda t: code.loop(0, channels, columns, partial(block, t)))
    return code.compiled()


@lru_cache(maxsize=64)
def table(images: int, side: int, pooled: bool) -> tuple[int, int, Tensor]:
    """Numbers of cells and of rows that are in none, and the rows of both, of square maps."""
    rows = torch.arange(images * side**2).view(images, side, side)
    if not pooled:
        return rows.numel(), 0, rows.flatten()
    half = side // 2
    inside = rows[:, : 2 * half, : 2 * half].unflatten(2, (half, 2)).unflatten(1, (half, 2))
    cells = inside.transpose(2, 3).flatten()
    outside = torch.ones_like(rows, dtype=torch.bool)
    outside[:, : 2 * half, : 2 * half] = False
    rest = rows[outside]
    return len(cells) // 4, len(rest), torch.cat([cells, rest])


def rectified(c: Code, values: Sequence[Value]) -> tuple[Value, Value]:
    """What goes on from a cell: the largest of its values (of equal ones the first), or 0 where
    ReLU stops it; and the cell's code.
    """
    best, place = values[0], c.byte(0)
    for i, value in enumerate(values[1:], start=1):
        larger = value > best
        best, place = c.choose(larger, value, best), c.choose(larger, c.byte(i), place)
    positive = best > 0
    return c.choose(positive, best, 0), c.choose(positive, place, c.byte(len(values)))


def picked(c: Code, code: Value, values: Iterable[Value]) -> Value:
    """The value of a cell that its code names, or 0."""
    found = c.row(0)
    for i, value in enumerate(values):
        found = c.choose(code.equals(i), value, found)
    return found


class Column:
    """The columns from b on of a task t, which are gone through together, and how they are read."""

    def __init__(self, code: Code, pixels: int, eps: float, t: Value, b: Value) -> None:
        self.code, self.pixels, self.eps, self.t, self.b = code, pixels, eps, t, b
        tasks, channels, rows, self.cells, self.left, self.table = code.arguments[: len(SIZES)]
        self.rows, self.n = rows, code.real(rows)
        self.place, self.wide = t * channels + b, tasks * channels

    def read(self, pointer: Any, row: Whole) -> Value:
        return self.code.load(pointer, row * self.wide + self.place)

    def write(self, value: Value, pointer: Any, row: Whole) -> None:
        self.code.store(value, pointer, row * self.wide + self.place)

    def given(self, pointer: Any, step: Value) -> Value:
        """A parameter: of each task, or with the step 0 of all."""
        return self.code.load(pointer, self.t * step + self.b)

    def pair(self, pointer: Any) -> tuple[Value, Value]:
        """Two sums or statistics."""
        return self.read(pointer, 0), self.read(pointer, 1)

    def keep(self, pointer: Any, one: Value, other: Value) -> None:
        """Write such a pair."""
        self.write(one, pointer, 0)
        self.write(other, pointer, 1)

    def pixel(self, cell: Value, i: int) -> Value:
        """The row of a cell's pixel."""
        if self.pixels == 1:
            return cell
        return self.code.at(self.table, cell * self.pixels + i)

    def each(self, body: Callable[[Value], None]) -> None:
        """Of the cells."""
        self.code.loop(0, self.cells, 1, body)

    def spread(
        self, codes: Any, own: Callable[[Value], Value], straight: Callable[[Value], Value],
        pointer: Any,
    ) -> None:  # fmt: skip
        """Write `straight` of every row, plus a cell's `own` in the row that its code names."""

        def cell(j: Value) -> None:
            value, code = own(j), self.read(codes, j)
            for i in range(self.pixels):
                row = self.pixel(j, i)
                more = self.code.choose(code.equals(i), value, 0)
                self.write(straight(row) + more, pointer, row)

        def other(i: Value) -> None:
            row = self.code.at(self.table, self.cells * self.pixels + i)
            self.write(straight(row), pointer, row)

        self.each(cell)
        if self.pixels > 1:
            self.code.loop(0, self.left, 1, other)


def _forward(
    at: Column, gamma: Any, gamma_step: Value, beta: Any, beta_step: Value, x: Any, y: Any,
    codes: Any, stats: Any,
) -> None:  # fmt: skip
    c = at.code
    [total] = c.sums(at.rows, 1, lambda r, s: [s + at.read(x, r)])
    mean = total / at.n

    def square(r: Value, s: Value) -> list[Value]:
        centred = at.read(x, r) - mean
        return [s + centred * centred]

    [total] = c.sums(at.rows, 1, square)
    root = c.row(1) / c.sqrt(total / at.n + at.eps)
    at.keep(stats, mean, root)
    slope, shift = at.given(gamma, gamma_step) * root, at.given(beta, beta_step)

    def cell(j: Value) -> None:
        rows = [at.read(x, at.pixel(j, i)) for i in range(at.pixels)]
        largest, code = rectified(c, [(row - mean) * slope + shift for row in rows])
        at.write(largest, y, j)
        at.write(code, codes, j)

    at.each(cell)


def _backward(
    at: Column, gamma: Any, gamma_step: Value, x: Any, codes: Any, stats: Any, gy: Any, gx: Any,
    sums: Any,
) -> None:  # fmt: skip
    c = at.code
    mean, root = at.pair(stats)

    def add(j: Value, s: Value, sn: Value) -> list[Value]:
        g, code = at.read(gy, j), at.read(codes, j)
        for i in range(at.pixels):
            mine = c.choose(code.equals(i), g, 0)
            s, sn = s + mine, sn + mine * ((at.read(x, at.pixel(j, i)) - mean) * root)
        return [s, sn]

    sum_g, sum_gn = c.sums(at.cells, 2, add)
    at.keep(sums, sum_g, sum_gn)
    slope = at.given(gamma, gamma_step) * root
    share = slope / at.n
    constant, by_normal = -share * sum_g, -share * sum_gn * root

    def straight(row: Value) -> Value:
        return constant + (at.read(x, row) - mean) * by_normal

    at.spread(codes, lambda j: at.read(gy, j) * slope, straight, gx)


def _tangent(
    at: Column, gamma: Any, gamma_step: Value, dgamma: Any, dgamma_step: Value, dbeta: Any,
    dbeta_step: Value, x: Any, codes: Any, stats: Any, dx: Any, dy: Any, means: Any,
) -> None:  # fmt: skip
    c = at.code
    mean, root = at.pair(stats)

    def add(r: Value, s: Value, sn: Value) -> list[Value]:
        change = at.read(dx, r)
        return [s + change, sn + change * ((at.read(x, r) - mean) * root)]

    shift, correlation = (s / at.n for s in c.sums(at.rows, 2, add))
    at.keep(means, shift, correlation)
    slope = at.given(gamma, gamma_step) * root
    by_normal = (at.given(dgamma, dgamma_step) - slope * correlation) * root
    constant = at.given(dbeta, dbeta_step) - slope * shift

    def moved(row: Value) -> Value:
        return at.read(dx, row) * slope + (at.read(x, row) - mean) * by_normal + constant

    def cell(j: Value) -> None:
        code, each = at.read(codes, j), (moved(at.pixel(j, i)) for i in range(at.pixels))
        at.write(picked(c, code, each), dy, j)

    at.each(cell)


def _adjoint(
    at: Column, gamma: Any, gamma_step: Value, dgamma: Any, dgamma_step: Value, x: Any, codes: Any,
    stats: Any, gy: Any, sums: Any, dx: Any, means: Any, dgy: Any, dgx: Any, products: Any,
) -> None:  # fmt: skip
    c, n = at.code, at.n
    (mean, root), (sum_g, sum_gn) = at.pair(stats), at.pair(sums)
    shift, correlation = at.pair(means)

    def add(j: Value, s: Value, sn: Value) -> list[Value]:
        g, dg, code = at.read(gy, j), at.read(dgy, j), at.read(codes, j)
        for i in range(at.pixels):
            here, row = code.equals(i), at.pixel(j, i)
            normal = (at.read(x, row) - mean) * root
            dnormal = (at.read(dx, row) - shift - normal * correlation) * root
            moved = c.choose(here, dg, 0)
            s = s + moved
            sn = sn + moved * normal + c.choose(here, g, 0) * dnormal
        return [s, sn]

    dsum_g, dsum_gn = c.sums(at.cells, 2, add)
    at.keep(products, dsum_g, dsum_gn)
    slope = at.given(gamma, gamma_step) * root
    dslope = (at.given(dgamma, dgamma_step) - slope * correlation) * root
    by_dx = -slope * root * sum_gn / n
    by_normal = -by_dx * correlation - (slope * dsum_gn + dslope * sum_gn) / n
    constant = -by_dx * shift - (slope * dsum_g + dslope * sum_g) / n
    by_centred = by_normal * root

    def straight(row: Value) -> Value:
        centred = at.read(x, row) - mean
        return constant + centred * by_centred + at.read(dx, row) * by_dx

    at.spread(codes, lambda j: at.read(dgy, j) * slope + at.read(gy, j) * dslope, straight, dgx)
