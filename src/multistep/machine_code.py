"""Loops over rows of floats in machine code made for the processor at hand.

A `Code` writes one function in LLVM's language through llvmlite, which brings the compiler along:
compiling takes some hundredths of a second per process, when a loop is first asked for, and nothing
is left on disk. A row is some columns wide, `columns` at a time are a `Value`: several vectors in
registers, with the arithmetic of one number. Products are added up as fused multiply-adds, in an
order that does not depend on the width of the vectors. Where the compiler or the processor's
vectors are missing, `suit` says no and torch's operations take their place.
"""

import ctypes
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
def _vectors() -> tuple[int, int]:
    """Floats in a vector and vectors in a row of results, at most; zeros: no compiler here."""
    features = binding.get_host_cpu_features() if binding else {}
    kinds = {"avx512f": (16, 4), "fma": (8, 2), "neon": (4, 4)}
    return next((kind for name, kind in kinds.items() if features.get(name)), (0, 0))


def width() -> int:
    """Floats in a vector; 0: no compiler here."""
    return _vectors()[0]


@cache
def columns(size: int, most: int = 4) -> int:
    """The largest number of columns that divides `size`, of `most` vectors, or 0."""
    vectors = min(_vectors()[1], most)
    while vectors and size % (width() * vectors):
        vectors //= 2
    return width() * vectors


def suit(*tensors: Tensor, sizes: Iterable[int] = ()) -> bool:
    """Whether loops may go over them: float32 in the CPU's memory, numbers of columns in `sizes`
    that are whole vectors, and nobody who counts, transforms or compiles torch's operations looks
    on.
    """
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
        return False
    if not width() or inside_transform() or forward_mode():
        return False
    single = all(
        t.is_cpu and t.dtype == torch.float32 and torch._C._has_storage(t) for t in tensors
    )
    return single and not any(size % width() for size in sizes)


def inside_transform() -> bool:
    """Whether vmap, grad or another transform of torch.func is at work."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def forward_mode() -> bool:
    """Whether somebody differentiates forwards (`torch.autograd.forward_ad`)."""
    return torch.autograd.forward_ad._current_level >= 0


def in_pieces(run: Callable[[int, int], None], count: int) -> None:
    """`run(first, last)` over `count` things, in as many threads as torch has."""
    threads = min(torch.get_num_threads(), count)
    if threads == 1:
        run(0, count)
        return
    bounds = [count * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, bounds, bounds[1:]))


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
        make = self.code.make
        return self._apply(
            other, lambda a, b: make.icmp_signed(">", a, b),
            lambda a, b, flags: make.fcmp_unordered(">", a, b),
        )  # fmt: skip

    def equals(self, number: int) -> "Value":
        """Lane by lane, of bytes or a whole number."""
        pairs = zip(self.parts, self.code.constant(number, self).parts, strict=True)
        return Value(self.code, [self.code.make.icmp_signed("==", a, b) for a, b in pairs])

    def _apply(self, other: Any, whole: Any, real: Any) -> "Value":
        given = other if isinstance(other, Value) else self.code.constant(other, self)
        pairs = list(zip(self.parts, given.parts, strict=True))
        if isinstance(self.parts[0].type, ir.IntType):
            return Value(self.code, [whole(a, b) for a, b in pairs])
        return Value(self.code, [real(a, b, flags=self.code.flags) for a, b in pairs])


Whole = Value | int


class Code:
    """One function: its arguments are whole numbers (n), and pointers to floats (f), to whole
    numbers (t) and to bytes (b), as `arguments` has them letter by letter.

    `fused`: whether products are added up without being rounded; if not, `fma` does it by name.
    """

    def __init__(self, name: str, arguments: str, columns: int, *, fused: bool = True) -> None:
        self.name, self.count, self.module = name, len(arguments), ir.Module()
        self.width, self.vectors, self.columns = width(), columns // width(), columns
        self.flags = ["contract"] if fused else []
        i8, i64, f32 = ir.IntType(8), ir.IntType(64), ir.FloatType()
        types = {"n": i64, "f": f32.as_pointer(), "t": i64.as_pointer(), "b": i8.as_pointer()}
        kind = ir.FunctionType(ir.VoidType(), [types[letter] for letter in arguments])
        function = ir.Function(self.module, kind, name)
        self.make = ir.IRBuilder(function.append_basic_block())
        self.vector, self.bytes = (ir.VectorType(kind, self.width) for kind in (f32, i8))
        self.arguments = [
            Value(self, [a]) if letter == "n" else a
            for a, letter in zip(function.args, arguments, strict=True)
        ]

    def constant(self, number: float, like: Value) -> Value:
        """The same number wherever the other value has one."""
        kind = like.parts[0].type
        every = isinstance(kind, ir.VectorType)
        one = ir.Constant(kind, [number] * self.width if every else number)
        return Value(self, [one] * len(like.parts))

    def number(self, whole: Whole) -> Value:
        """A whole number, if it isn't a value already."""
        return whole if isinstance(whole, Value) else Value(self, [ir.IntType(64)(whole)])

    def row(self, number: float) -> Value:
        """The same number in every column."""
        return Value(self, [ir.Constant(self.vector, [float(number)] * self.width)] * self.vectors)

    def byte(self, number: int) -> Value:
        """The same byte in every column."""
        return Value(self, [ir.Constant(self.bytes, [number] * self.width)] * self.vectors)

    def real(self, whole: Value) -> Value:
        """A whole number in every column."""
        return self._spread(self.make.sitofp(whole.parts[0], ir.FloatType()))

    def scalar(self, floats: Any, index: Whole) -> Value:
        """One float in every column."""
        return self._spread(self.make.load(self.place(floats, index)))

    def _spread(self, scalar: Any) -> Value:
        i32 = ir.IntType(32)
        one = self.make.insert_element(ir.Constant(self.vector, ir.Undefined), scalar, i32(0))
        mask = ir.Constant(ir.VectorType(i32, self.width), [0] * self.width)
        return Value(self, [self.make.shuffle_vector(one, one, mask)] * self.vectors)

    def place(self, pointer: Any, index: Whole) -> Any:
        """The pointer so many elements further on."""
        return self.make.gep(pointer, self.number(index).parts)

    def at(self, table: Any, index: Whole) -> Value:
        """A whole number of a table."""
        return Value(self, [self.make.load(self.place(table, index))])

    def copy(self, source: tuple[Any, Whole], target: tuple[Any, Whole]) -> None:
        """One float from place to place."""
        self.make.store(self.make.load(self.place(*source)), self.place(*target))

    def load(self, pointer: Any, index: Whole) -> Value:
        """A row's floats, or bytes."""
        return Value(self, [self.make.load(p, align=a) for p, a in self._places(pointer, index)])

    def store(self, value: Value, pointer: Any, index: Whole) -> None:
        """Write a row."""
        for part, (place, align) in zip(value.parts, self._places(pointer, index), strict=True):
            self.make.store(part, place, align=align)

    def _places(self, pointer: Any, index: Whole) -> list[tuple[Any, int]]:
        floats = isinstance(pointer.type.pointee, ir.FloatType)
        kind, align = (self.vector, 4) if floats else (self.bytes, 1)
        places = [self.place(pointer, index + self.width * v) for v in range(self.vectors)]
        return [(self.make.bitcast(place, kind.as_pointer()), align) for place in places]

    def choose(self, mask: Value, yes: Any, no: Any) -> Value:
        """Lane by lane, or by one condition for all."""
        yes, no = self._rows(yes, no)
        masks = mask.parts * (len(yes.parts) // len(mask.parts))
        parts = zip(masks, yes.parts, no.parts, strict=True)
        return Value(self, [self.make.select(*three) for three in parts])

    def _rows(self, *values: Any) -> list[Value]:
        return [v if isinstance(v, Value) else self.row(v) for v in values]

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

    def sqrt(self, value: Value) -> Value:
        """√value."""
        return self._each("sqrt", value)

    def fma(self, a: Any, b: Any, c: Any) -> Value:
        """A·b + c, rounded once."""
        return self._each("fma", *self._rows(a, b, c))

    def _each(self, name: str, *values: Value) -> Value:
        """An operation of LLVM's on every vector."""
        kind = ir.FunctionType(self.vector, [self.vector] * len(values))
        full = f"llvm.{name}.v{self.width}f32"
        operation = self.module.globals.get(full) or ir.Function(self.module, kind, full)
        parts = zip(*(v.parts for v in values), strict=True)
        return Value(self, [self.make.call(operation, part) for part in parts])

    def loop(
        self, start: Whole, stop: Whole, step: int, body: Callable[..., Any],
        carried: Sequence[Value] = (),
    ) -> list[Value]:  # fmt: skip
        """`for i in range(start, stop, step): carried = body(i, *carried)`; i and carried after.
        What the body returns counts only if something is carried.
        """
        make = self.make
        begin, last = [self.number(start), *carried], self.number(stop)
        before = make.block
        head, inside, after = (make.append_basic_block() for _ in range(3))
        make.branch(head)
        make.position_at_end(head)
        values = [Value(self, [make.phi(p.type) for p in v.parts]) for v in begin]
        self._join(values, begin, before)
        test = make.icmp_signed("<", values[0].parts[0], last.parts[0])
        make.cbranch(test, inside, after)
        make.position_at_end(inside)
        moved = body(*values)
        self._join(values, [values[0] + step, *(moved if carried else [])], make.block)
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
            stop = self.choose(count > end, end, count)
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
