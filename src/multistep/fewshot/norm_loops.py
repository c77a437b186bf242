"""The compiled loops of batch norm with ReLU, and where there is one the pooling between them.

Rules and formulas are those of `multistep.fewshot.pooled_norm`; without pooling a cell is one pixel
instead of four. Of the map that comes in nothing is copied: what is normalised is computed again in
registers wherever it is needed. Of a cell stays what goes on, y, and one byte: which of its pixels
was the largest, or their number where ReLU stops it.
"""

from collections.abc import Callable
from functools import cache, lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from multistep.fewshot.lanes import Code, Value

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
    write = {"forward": _forward, "backward": _backward, "tangent": _tangent, "adjoint": _adjoint}
    write[name](Norm(code, pixels, eps))
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


class Norm:
    """What the four functions share: their place in the maps, and how a cell is read."""

    def __init__(self, code: Code, pixels: int, eps: float) -> None:
        self.code, self.pixels, self.eps = code, pixels, eps
        sizes, self.rest = code.arguments[:6], code.arguments[6:]
        self.tasks, self.channels, self.rows, self.cells, self.left, self.table = sizes
        self.wide = self.tasks * self.channels

    def each(self, body: Any) -> None:
        """`body(task, column)` for all columns that are gone through together."""

        def task(t: Value) -> None:
            self.code.loop(0, self.channels, self.code.columns, partial(body, t))

        self.code.loop(0, self.tasks, 1, task)

    def column(self, t: Value, b: Value) -> "Column":
        return Column(self, t, b)


class Column:
    """The columns from b on of a task t."""

    def __init__(self, norm: Norm, t: Value, b: Value) -> None:
        self.norm, self.code, self.t, self.b = norm, norm.code, t, b
        self.place = t * norm.channels + b

    def read(self, pointer: Any, row: Value) -> Value:
        return self.code.load(pointer, row * self.norm.wide + self.place)

    def write(self, value: Value, pointer: Any, row: Value) -> None:
        self.code.store(value, pointer, row * self.norm.wide + self.place)

    def given(self, pointer: Any, step: Value) -> Value:
        """A parameter: of each task, or with the step 0 of all."""
        return self.code.load(pointer, self.t * step + self.b)

    def stats(self, pointer: Any, count: int) -> list[Value]:
        return [self.read(pointer, self.code.number(i)) for i in range(count)]

    def keep(self, pointer: Any, *values: Value) -> None:
        for i, value in enumerate(values):
            self.write(value, pointer, self.code.number(i))

    def pixel(self, cell: Value, i: int) -> Value:
        """The row of a cell's pixel."""
        if self.norm.pixels == 1:
            return cell
        return self.code.at(self.norm.table, cell * self.norm.pixels + i)

    def cells(self, body: Any) -> None:
        self.code.loop(0, self.norm.cells, 1, body)

    def others(self, body: Any) -> None:
        """Of the rows that are in no cell."""
        if self.norm.pixels == 1:
            return
        first = self.norm.cells * self.norm.pixels
        self.code.loop(
            0, self.norm.left, 1, lambda i: body(self.code.at(self.norm.table, first + i))
        )


def _forward(norm: Norm) -> None:
    c = norm.code
    gamma, gamma_step, beta, beta_step, x, y, codes, stats = norm.rest

    def block(t: Value, b: Value) -> None:
        at = norm.column(t, b)
        n = c.real(norm.rows)
        [total] = c.sums(norm.rows, 1, lambda r, s: [s + at.read(x, r)])
        mean = total / n

        def square(r: Value, s: Value) -> list[Value]:
            centred = at.read(x, r) - mean
            return [s + centred * centred]

        [total] = c.sums(norm.rows, 1, square)
        root = c.root(total / n + norm.eps)
        at.keep(stats, mean, root)
        slope, shift = at.given(gamma, gamma_step) * root, at.given(beta, beta_step)

        def cell(j: Value) -> None:
            rows = [at.read(x, at.pixel(j, i)) for i in range(norm.pixels)]
            best, place = c.largest([(row - mean) * slope + shift for row in rows])
            positive = best > 0
            at.write(c.choose(positive, best, 0), y, j)
            at.write(c.choose(positive, place, c.code(norm.pixels)), codes, j)

        at.cells(cell)

    norm.each(block)


def _backward(norm: Norm) -> None:
    c = norm.code
    gamma, gamma_step, x, codes, stats, gy, gx, sums = norm.rest

    def block(t: Value, b: Value) -> None:
        at = norm.column(t, b)
        mean, root = at.stats(stats, 2)

        def add(j: Value, s: Value, sn: Value) -> list[Value]:
            g, code = at.read(gy, j), at.read(codes, j)
            for i in range(norm.pixels):
                picked = c.choose(code.equals(i), g, 0)
                s, sn = s + picked, sn + picked * ((at.read(x, at.pixel(j, i)) - mean) * root)
            return [s, sn]

        found = c.sums(norm.cells, 2, add)
        at.keep(sums, *found)
        slope = at.given(gamma, gamma_step) * root
        share = slope / c.real(norm.rows)
        constant, by_normal = -share * found[0], -share * found[1] * root

        def straight(row: Value) -> Value:
            return constant + (at.read(x, row) - mean) * by_normal

        def cell(j: Value) -> None:
            g, code = at.read(gy, j) * slope, at.read(codes, j)
            for i in range(norm.pixels):
                row = at.pixel(j, i)
                at.write(straight(row) + c.choose(code.equals(i), g, 0), gx, row)

        at.cells(cell)
        at.others(lambda row: at.write(straight(row), gx, row))

    norm.each(block)


def _tangent(norm: Norm) -> None:
    c = norm.code
    gamma, gamma_step, dgamma, dgamma_step, dbeta, dbeta_step = norm.rest[:6]
    x, codes, stats, dx, dy, means = norm.rest[6:]

    def block(t: Value, b: Value) -> None:
        at = norm.column(t, b)
        mean, root = at.stats(stats, 2)

        def add(r: Value, s: Value, sn: Value) -> list[Value]:
            moved = at.read(dx, r)
            return [s + moved, sn + moved * ((at.read(x, r) - mean) * root)]

        shift, correlation = (s / c.real(norm.rows) for s in c.sums(norm.rows, 2, add))
        at.keep(means, shift, correlation)
        slope = at.given(gamma, gamma_step) * root
        by_normal = (at.given(dgamma, dgamma_step) - slope * correlation) * root
        constant = at.given(dbeta, dbeta_step) - slope * shift

        def cell(j: Value) -> None:
            code, found = at.read(codes, j), c.row(0)
            for i in range(norm.pixels):
                row = at.pixel(j, i)
                value = at.read(dx, row) * slope + (at.read(x, row) - mean) * by_normal + constant
                found = c.choose(code.equals(i), value, found)
            at.write(found, dy, j)

        at.cells(cell)

    norm.each(block)


def _adjoint(norm: Norm) -> None:
    c = norm.code
    gamma, gamma_step, dgamma, dgamma_step = norm.rest[:4]
    x, codes, stats, gy, sums, dx, means, dgy, dgx, products = norm.rest[4:]

    def block(t: Value, b: Value) -> None:
        at = norm.column(t, b)
        (mean, root), (sum_g, sum_gn) = at.stats(stats, 2), at.stats(sums, 2)
        shift, correlation = at.stats(means, 2)

        def add(j: Value, s: Value, sn: Value) -> list[Value]:
            g, dg, code = at.read(gy, j), at.read(dgy, j), at.read(codes, j)
            for i in range(norm.pixels):
                here, row = code.equals(i), at.pixel(j, i)
                normal = (at.read(x, row) - mean) * root
                dnormal = (at.read(dx, row) - shift - normal * correlation) * root
                picked = c.choose(here, dg, 0)
                s = s + picked
                sn = sn + picked * normal + c.choose(here, g, 0) * dnormal
            return [s, sn]

        found = c.sums(norm.cells, 2, add)
        at.keep(products, *found)
        slope = at.given(gamma, gamma_step) * root
        dslope = (at.given(dgamma, dgamma_step) - slope * correlation) * root
        n = c.real(norm.rows)
        by_dx = -slope * root * sum_gn / n
        by_normal = -by_dx * correlation - (slope * found[1] + dslope * sum_gn) / n
        constant = -by_dx * shift - (slope * found[0] + dslope * sum_g) / n
        by_centred = by_normal * root

        def straight(row: Value) -> Value:
            centred = at.read(x, row) - mean
            return constant + centred * by_centred + at.read(dx, row) * by_dx

        def cell(j: Value) -> None:
            moved = at.read(dgy, j) * slope + at.read(gy, j) * dslope
            code = at.read(codes, j)
            for i in range(norm.pixels):
                row = at.pixel(j, i)
                at.write(straight(row) + c.choose(code.equals(i), moved, 0), dgx, row)

        at.cells(cell)
        at.others(lambda row: at.write(straight(row), dgx, row))

    norm.each(block)
