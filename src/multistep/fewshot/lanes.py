"""Loops over rows of floats in machine code made for the processor at hand.

A `Code` writes one function in LLVM's language through llvmlite, which brings the compiler along:
compiling takes some hundredths of a second per process, and nothing is left on disk. A row is some
columns wide, `columns` at a time are a `Value`: several vectors in registers, with the arithmetic
of one number. Products are added up as fused multiply-adds, in an order that does not depend on
the width of the vectors.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

try:
    from llvmlite import binding, ir
except (ImportError, OSError):  # no build of it for this machine
    binding = ir = None

PIECE = 256  # terms that are added up one after the other before their sum joins the others


@cache
def widths() -> tuple[int, int]:
    """Floats in a vector and vectors in a row of results, at most; zeros: no compiler here."""
    features = binding.get_host_cpu_features() if binding else {}
    if features.get("avx512f"):
        return 16, 4
    if features.get("fma"):
        return 8, 2
    return (4, 4) if features.get("neon") else (0, 0)


def suit(like: Tensor, *sizes: int) -> bool:
    """Whether loops are compiled for tensors like this with so many columns."""
    return like.dtype == torch.float32 and like.is_cpu and all(map(columns, sizes))


@cache
def columns(size: int, most: int = 4) -> int:
    """The largest number of columns that divides `size`, of `most` vectors, or 0."""
    width, vectors = widths()
    vectors = min(vectors, most)
    while vectors and size % (width * vectors):
        vectors //= 2
    return width * vectors


class Value:
    """A whole number, or a row's vectors, with their arithmetic."""

    def __init__(self, code: "Code", parts: Sequence[Any]) -> None:
        self.code, self.parts = code, list(parts)

    def __add__(self, other: Any) -> "Value":
        return self._apply(other, self.code.make.add, self.code.make.fadd)

    def __sub__(self, other: Any) -> "Value":
        return self._apply(other, self.code.make.sub, self.code.make.fsub)

    def __mul__(self, other: Any) -> "Value":
        return self._apply(other, self.code.make.mul, self.code.make.fmul)

    def __truediv__(self, other: Any) -> "Value":
        return self._apply(other, None, self.code.make.fdiv)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> "Value":
        return self * -1

    def __gt__(self, other: Any) -> "Value":
        """Lane by lane; what is not a number is larger, so that it does not get lost."""
        fcmp = self.code.make.fcmp_unordered
        return self._apply(other, None, lambda a, b, flags: fcmp(">", a, b))

    def equals(self, number: int) -> "Value":
        """Lane by lane, of bytes."""
        make = self.code.make
        constants = [ir.Constant(p.type, [number] * p.type.count) for p in self.parts]
        pairs = zip(self.parts, constants, strict=True)
        return Value(self.code, [make.icmp_signed("==", p, c) for p, c in pairs])

    def _apply(self, other: Any, whole: Any, real: Any) -> "Value":
        given = other if isinstance(other, Value) else self.code.constant(other, self)
        pairs = list(zip(self.parts, given.parts, strict=True))
        if isinstance(self.parts[0].type, ir.IntType):
            return Value(self.code, [whole(a, b) for a, b in pairs])
        return Value(self.code, [real(a, b, flags=["contract"]) for a, b in pairs])


class Code:
    """One function: its arguments are whole numbers (n), and pointers to floats (f), to whole
    numbers (t) and to bytes (b), as `arguments` has them letter by letter.
    """

    def __init__(self, name: str, arguments: str, columns: int) -> None:
        self.name, self.count, self.module = name, len(arguments), ir.Module()
        self.width = widths()[0]
        self.columns, self.vectors = columns, columns // self.width
        i8, i64, f32 = ir.IntType(8), ir.IntType(64), ir.FloatType()
        types = {"n": i64, "f": f32.as_pointer(), "t": i64.as_pointer(), "b": i8.as_pointer()}
        kind = ir.FunctionType(ir.VoidType(), [types[letter] for letter in arguments])
        function = ir.Function(self.module, kind, name)
        self.make = ir.IRBuilder(function.append_basic_block())
        self.vector = ir.VectorType(f32, self.width)
        self.bytes = ir.VectorType(i8, self.width)
        self.arguments = [
            Value(self, [a]) if letter == "n" else a
            for a, letter in zip(function.args, arguments, strict=True)
        ]

    def constant(self, number: float, like: Value) -> Value:
        kind = like.parts[0].type
        one = kind(number) if isinstance(kind, ir.IntType) else None
        many = one or ir.Constant(kind, [float(number)] * self.width)
        return Value(self, [many] * len(like.parts))

    def number(self, number: int) -> Value:
        return Value(self, [ir.IntType(64)(number)])

    def row(self, number: float) -> Value:
        """The same number in every column."""
        return Value(self, [ir.Constant(self.vector, [float(number)] * self.width)] * self.vectors)

    def spread(self, scalar: Any) -> Value:
        """A scalar in every column."""
        one = self.make.insert_element(ir.Constant(self.vector, ir.Undefined), scalar, _i32(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.width), [0] * self.width)
        return Value(self, [self.make.shuffle_vector(one, one, mask)] * self.vectors)

    def real(self, whole: Value) -> Value:
        """A whole number in every column."""
        return self.spread(self.make.sitofp(whole.parts[0], ir.FloatType()))

    def at(self, table: Any, index: Value) -> Value:
        """A whole number of a table."""
        return Value(self, [self.make.load(self.make.gep(table, index.parts))])

    def scalar(self, floats: Any, index: Value) -> Value:
        """One float in every column."""
        return self.spread(self.make.load(self.make.gep(floats, index.parts)))

    def load(self, pointer: Any, index: Value) -> Value:
        """A row's floats, or bytes."""
        return Value(self, [self.make.load(p, align=a) for p, a in self._places(pointer, index)])

    def store(self, value: Value, pointer: Any, index: Value) -> None:
        for part, (place, align) in zip(value.parts, self._places(pointer, index), strict=True):
            self.make.store(part, place, align=align)

    def _places(self, pointer: Any, index: Value) -> list[tuple[Any, int]]:
        floats = isinstance(pointer.type.pointee, ir.FloatType)
        kind, align = (self.vector, 4) if floats else (self.bytes, 1)
        starts = [(index + self.width * v).parts for v in range(self.vectors)]
        places = [self.make.gep(pointer, start) for start in starts]
        return [(self.make.bitcast(place, kind.as_pointer()), align) for place in places]

    def choose(self, mask: Value, yes: Any, no: Any) -> Value:
        """Lane by lane."""
        rows = [v if isinstance(v, Value) else self.row(v) for v in (yes, no)]
        parts = zip(mask.parts, rows[0].parts, rows[1].parts, strict=True)
        return Value(self, [self.make.select(*three) for three in parts])

    def differ(self, whole: Value, number: int) -> Any:
        """Whether a whole number is another."""
        return self.make.icmp_signed("!=", whole.parts[0], self.number(number).parts[0])

    def either(self, condition: Any, yes: Value, no: Value) -> Value:
        """One of two rows."""
        parts = zip(yes.parts, no.parts, strict=True)
        return Value(self, [self.make.select(condition, a, b) for a, b in parts])

    def exchanged(self, one: Value, other: Value, bit: int) -> tuple[Value, Value]:
        """Two vectors after those lanes of the one that have the bit and those of the other that
        have not changed places.
        """
        kind = ir.VectorType(ir.IntType(32), self.width)
        lower = [i if not i & bit else self.width + i - bit for i in range(self.width)]
        upper = [i + bit if not i & bit else self.width + i for i in range(self.width)]
        pair = one.parts[0], other.parts[0]
        found = [self.make.shuffle_vector(*pair, ir.Constant(kind, m)) for m in (lower, upper)]
        return Value(self, found[:1]), Value(self, found[1:])

    def largest(self, values: Sequence[Value]) -> tuple[Value, Value]:
        """The largest of some rows, and its number, as bytes: of equal ones the first."""
        best, place = values[0], self.code(0)
        for i, value in enumerate(values[1:], start=1):
            larger = value > best
            best, place = self.choose(larger, value, best), self.choose(larger, self.code(i), place)
        return best, place

    def code(self, number: int) -> Value:
        """The same byte in every column."""
        return Value(self, [ir.Constant(self.bytes, [number] * self.width)] * self.vectors)

    def root(self, value: Value) -> Value:
        """1 / √value."""
        name = f"llvm.sqrt.v{self.width}f32"
        sqrt = ir.Function(self.module, ir.FunctionType(self.vector, [self.vector]), name)
        return self.row(1) / Value(self, [self.make.call(sqrt, [p]) for p in value.parts])

    def loop(
        self, start: Any, stop: Value, step: int, body: Callable[..., Any],
        carried: Sequence[Value] = (),
    ) -> list[Value]:  # fmt: skip
        """`for i in range(start, stop, step): carried = body(i, *carried)`; i and carried after."""
        make = self.make
        begin = [start if isinstance(start, Value) else self.number(start), *carried]
        before = make.block
        head, inside, after = (make.append_basic_block() for _ in range(3))
        make.branch(head)
        make.position_at_end(head)
        values = [Value(self, [make.phi(p.type) for p in v.parts]) for v in begin]
        self._join(values, begin, before)
        test = make.icmp_signed("<", values[0].parts[0], stop.parts[0])
        make.cbranch(test, inside, after)
        make.position_at_end(inside)
        moved = body(*values) or []
        self._join(values, [values[0] + step, *moved], make.block)
        make.branch(head)
        make.position_at_end(after)
        return values

    def _join(self, values: Sequence[Value], new: Sequence[Value], block: Any) -> None:
        for value, come in zip(values, new, strict=True):
            for phi, part in zip(value.parts, come.parts, strict=True):
                phi.add_incoming(part, block)

    def sums(self, count: Value, number: int, body: Callable[..., Sequence[Value]]) -> list[Value]:
        """`number` sums over i < count, from `sums = body(i, *sums)`, in pieces: so rounding hardly
        grows with the count.
        """
        zeros = [self.row(0)] * number

        def piece(start: Value, *totals: Value) -> list[Value]:
            end = start + PIECE
            less = self.make.icmp_signed("<", end.parts[0], count.parts[0])
            stop = Value(self, [self.make.select(less, end.parts[0], count.parts[0])])
            found = self.loop(start, stop, 1, body, zeros)[1:]
            return [a + b for a, b in zip(totals, found, strict=True)]

        return self.loop(0, count, PIECE, piece, zeros)[1:]

    def compiled(self) -> Callable[..., None]:
        """The function, of so many whole numbers and addresses; nothing can be added to it."""
        self.make.ret_void()
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        machine = binding.Target.from_default_triple().create_target_machine(
            cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten(),
            opt=3,
        )  # fmt: skip
        module = binding.parse_assembly(str(self.module))
        engine = binding.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * self.count)(
            engine.get_function_address(self.name)
        )
        function.engine = engine  # type: ignore[attr-defined]  # the code lives as long as it does
        return function


def _i32(number: int) -> Any:
    return ir.IntType(32)(number)
