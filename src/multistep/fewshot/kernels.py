"""Small matrix products that gather their rows, in machine code made for the processor at hand.

A convolution, its input gradient and its weight gradient all are lists of products

    c[rows_c[i] + n] += Σ_k a[rows_a[i] + terms_a[k]] · b[terms_b[k] + n],   n = 0, ..., columns - 1

over rows i and terms k of one kernel offset: nothing is copied into patches, padding is skipped,
and every result keeps its place in registers over all k. `multistep.fewshot.convolution` makes the
lists; here is the loop over them. A job's terms are added up in the order of the list, and their
sum to what is there: short sums round less, and the bits don't depend on the width of the vectors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial

from torch import Tensor

from multistep.machine_code import Code, Value, width

# Of a job: where a, b and c begin; first and number of its rows, of its terms; whether no job of
# the plan before it has written its rows (1) or one has (0).
FIELDS = 8
AT_ONCE = (6, 3, 1)  # rows whose results are in registers together: as many as are left


@dataclass(frozen=True)
class Plan:
    """`jobs`: `[jobs, FIELDS]`; `tables`: rows_a, rows_c, terms_a and terms_b, one after another
    for all jobs. All are int64 and count elements. `columns`: of every product. `whole`: whether
    the jobs that come first in their rows write all of c.
    """

    jobs: Tensor
    tables: tuple[Tensor, Tensor, Tensor, Tensor]
    columns: int
    whole: bool

    def run(self, a: Tensor, b: Tensor, c: Tensor, *, add: bool) -> None:
        """Write the products to `c`, or add them to what is there; all contiguous float32 on the
        CPU, large enough for the plan.
        """
        jobs, *tables = self.addresses
        pointers = (jobs, a.data_ptr(), b.data_ptr(), c.data_ptr(), *tables)
        _compiled(self.columns)(len(self.jobs), not add, *pointers)

    @cached_property
    def addresses(self) -> list[int]:
        """Of jobs and tables."""
        return [t.data_ptr() for t in (self.jobs, *self.tables)]


def transposed(w: Tensor) -> Tensor:
    """`w.mT.contiguous()` of `[tasks, rows, columns]`, both of which a vector's width divides."""
    tasks, rows, columns = w.shape
    w, found = w.contiguous(), w.new_empty(tasks, columns, rows)
    _transpose()(tasks, rows, columns, w.data_ptr(), found.data_ptr())
    return found


@cache
def _compiled(columns: int) -> Callable[..., None]:
    """The loop over the jobs: (number of jobs, whether to write, jobs, a, b, c, four tables)."""
    code = Code("products", "nntffftttt", columns)
    count, write, jobs, a, b, c, rows_a, rows_c, terms_a, terms_b = code.arguments

    def job(number: Value) -> None:
        at_a, at_b, at_c, here, rows, term, terms, first = (
            code.at(jobs, number * FIELDS + f) for f in range(FIELDS)
        )
        end, last, kept = here + rows, term + terms, (write * first).equals(0)

        def block(size: int, here: Value) -> None:
            """Products of `size` rows with their terms."""
            lefts = [at_a + code.at(rows_a, here + i) for i in range(size)]
            results = [at_c + code.at(rows_c, here + i) for i in range(size)]

            def add(k: Value, *sums: Value) -> list[Value]:
                offset, right = code.at(terms_a, k), code.load(b, at_b + code.at(terms_b, k))
                factors = [code.scalar(a, left + offset) for left in lefts]
                return [s + f * right for s, f in zip(sums, factors, strict=True)]

            sums = code.loop(term, last, 1, add, [code.row(0)] * size)[1:]
            for value, place in zip(sums, results, strict=True):
                before = code.choose(kept, code.load(c, place), 0)
                code.store(before + value, c, place)

        for size in AT_ONCE:
            [here] = code.loop(here, end - (size - 1), size, partial(block, size))

    code.loop(0, count, 1, job)
    return code.compiled()


@cache
def _transpose() -> Callable[..., None]:
    """(tasks, rows, columns, from, to), in squares of one vector's width, whose lanes change places
    bit by bit of their numbers.
    """
    size = width()
    code = Code("transpose", "nnnff", size)
    tasks, rows, columns, start, to = code.arguments

    def square(first: Value, i: Value, j: Value) -> None:
        lines = [code.load(start, first + (i + n) * columns + j) for n in range(size)]
        half = 1
        while half < size:
            for n in range(size):
                if not n & half:
                    lines[n], lines[n + half] = code.exchanged(lines[n], lines[n + half], half)
            half *= 2
        for n, line in enumerate(lines):
            code.store(line, to, first + (j + n) * rows + i)

    def task(t: Value) -> None:
        first = t * rows * columns
        code.loop(0, rows, size, lambda i: code.loop(0, columns, size, partial(square, first, i)))

    code.loop(0, tasks, 1, task)
    return code.compiled()
