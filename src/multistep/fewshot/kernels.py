"""Small matrix products that gather their rows, in machine code made for the processor at hand.

A convolution, its input gradient and its weight gradient all are lists of products

    c[rows_c[i] + n] += Σ_k a[rows_a[i] + terms_a[k]] · b[terms_b[k] + n],   n = 0, ..., columns - 1

over rows i and terms k of one kernel offset: nothing is copied into patches, padding is skipped,
and every result keeps its place in registers over all k. `multistep.fewshot.convolution` makes the
lists; here is the loop over them, written in LLVM's language by llvmlite, which brings the compiler
along: compiling takes a tenth of a second per process, and nothing is left on disk. The terms are
added up in the order of the lists, so the bits do not depend on the width of the vectors.
"""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

try:
    from llvmlite import binding, ir
except (ImportError, OSError):  # no build of it for this machine
    binding = ir = None

# Of a job: where a, b and c begin; first and number of its rows, of its terms; whether no job of
# the plan before it has written its rows (1) or one has (0).
FIELDS = 8
BLOCKS = (6, 3, 1)  # rows whose results are in registers together: as many as are left


@dataclass(frozen=True)
class Plan:
    """`jobs`: `[jobs, FIELDS]`; `tables`: rows_a, rows_c, terms_a and terms_b, one after another
    for all jobs. All are int64 and count elements. `columns`: of every product.
    """

    jobs: Tensor
    tables: tuple[Tensor, Tensor, Tensor, Tensor]
    columns: int

    def run(self, a: Tensor, b: Tensor, c: Tensor, *, add: bool) -> None:
        """Write the products to `c`, or add them to what is there; all contiguous float32 on the
        CPU, large enough for the plan.
        """
        tables = (t.data_ptr() for t in self.tables)
        pointers = (self.jobs.data_ptr(), a.data_ptr(), b.data_ptr(), c.data_ptr())
        _compiled(self.columns)(len(self.jobs), not add, *pointers, *tables)


@cache
def widths() -> tuple[int, int]:
    """Floats in a vector and vectors in a row of results, at most; zeros: no kernels here."""
    features = binding.get_host_cpu_features() if binding else {}
    if features.get("avx512f"):
        return 16, 4
    if features.get("fma"):
        return 8, 2
    return (4, 4) if features.get("neon") else (0, 0)


def suit(like: Tensor, *sizes: int) -> bool:
    """Whether there are kernels for products of tensors like this with so many columns."""
    here = like.device.type == "cpu" and like.dtype == torch.float32
    return here and all(map(columns, sizes))


def columns(size: int) -> int:
    """The largest number of columns that divides `size` and that there is a kernel for, or 0."""
    width, vectors = widths()
    while vectors and size % (width * vectors):
        vectors //= 2
    return width * vectors


@cache
def _compiled(columns: int) -> Callable[..., None]:
    """The loop over the jobs: (number of jobs, whether to write, jobs, a, b, c, four tables)."""
    width = widths()[0]
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    module = binding.parse_assembly(str(_module(width, columns // width)))
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten(), opt=3
    )
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 2, *[ctypes.c_void_p] * 8)
    function = signature(engine.get_function_address("products"))
    function.engine = engine  # type: ignore[attr-defined]  # the code lives as long as it does
    return function


def _module(width: int, vectors: int) -> Any:
    """The loop in LLVM's language, for vectors of `width` floats."""
    i32, i64, f32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
    vector, mask = ir.VectorType(f32, width), ir.VectorType(i32, width)
    floats, integers = f32.as_pointer(), i64.as_pointer()
    module = ir.Module()
    arguments = [i64, i64, integers, floats, floats, floats, *[integers] * 4]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), "products")
    count, write, jobs, a, b, c, rows_a, rows_c, terms_a, terms_b = function.args
    multiply_add = ir.Function(
        module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{width}f32"
    )
    make = ir.IRBuilder(function.append_basic_block())

    def read(table: Any, index: Any) -> Any:
        return make.load(make.gep(table, [index]))

    def spread(value: Any) -> Any:
        one = make.insert_element(ir.Constant(vector, ir.Undefined), value, i32(0))
        return make.shuffle_vector(one, one, ir.Constant(mask, [0] * width))

    def row(start: Any) -> list[Any]:
        """Pointers to the vectors of a row."""
        places = [make.gep(start, [i64(width * v)]) for v in range(vectors)]
        return [make.bitcast(place, vector.as_pointer()) for place in places]

    def job(number: Any) -> list[Any]:
        first = make.mul(number, i64(FIELDS))
        at_a, at_b, at_c, here, rows, term, terms, first_there = (
            read(jobs, make.add(first, i64(f))) for f in range(FIELDS)
        )
        starts = make.gep(a, [at_a]), make.gep(b, [at_b]), make.gep(c, [at_c])
        end, last = make.add(here, rows), make.add(term, terms)
        fresh = make.icmp_signed("!=", make.and_(write, first_there), i64(0))
        for size in BLOCKS:
            inside = partial(block, size, fresh, (term, last), *starts)
            here, *_ = _loop(make, here, make.sub(end, i64(size - 1)), size, inside)
        return []

    def block(size: int, fresh: Any, terms: Any, a: Any, b: Any, c: Any, here: Any) -> list[Any]:
        """Products of `size` rows with their terms."""
        places = [make.add(here, i64(i)) for i in range(size)]
        lefts = [make.gep(a, [read(rows_a, place)]) for place in places]
        results = [v for p in places for v in row(make.gep(c, [read(rows_c, p)]))]

        def add_term(k: Any, *sums: Any) -> list[Any]:
            offset = read(terms_a, k)
            right = [make.load(v, align=4) for v in row(make.gep(b, [read(terms_b, k)]))]
            moved = []
            for i, left in enumerate(lefts):
                factor = spread(read(left, offset))
                for v, old in zip(right, sums[i * vectors :], strict=False):
                    moved.append(make.call(multiply_add, [factor, v, old]))
            return moved

        zero = ir.Constant(vector, [0.0] * width)
        sums = [make.select(fresh, zero, make.load(v, align=4)) for v in results]
        sums = _loop(make, terms[0], terms[1], 1, add_term, sums)[1:]
        for value, place in zip(sums, results, strict=True):
            make.store(value, place, align=4)
        return []

    _loop(make, i64(0), count, 1, job)
    make.ret_void()
    return module


def _loop(
    make: Any, start: Any, stop: Any, step: int, body: Callable[..., Sequence[Any]],
    carried: Sequence[Any] = (),
) -> list[Any]:  # fmt: skip
    """`for i in range(start, stop, step): carried = body(i, *carried)`; the last i and carried."""
    before = make.block
    head, inside, after = (make.append_basic_block() for _ in range(3))
    make.branch(head)
    make.position_at_end(head)
    values = [make.phi(v.type) for v in (start, *carried)]
    for value, first in zip(values, (start, *carried), strict=True):
        value.add_incoming(first, before)
    make.cbranch(make.icmp_signed("<", values[0], stop), inside, after)
    make.position_at_end(inside)
    moved = body(*values)
    for value, new in zip(values, (make.add(values[0], start.type(step)), *moved), strict=True):
        value.add_incoming(new, make.block)
    make.branch(head)
    make.position_at_end(after)
    return values
