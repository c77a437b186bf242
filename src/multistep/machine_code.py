"""Loops over vectors of floats, in machine code made for the processor at hand.

llvmlite writes them in LLVM's language and brings the compiler along: compiling takes a tenth of a
second per process, when a loop is first asked for, and nothing is left on disk. Where it or the
processor's vectors are missing, `suit` says no and torch's operations take their place.
"""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

try:
    from llvmlite import binding, ir
except (ImportError, OSError):  # no build of it for this machine
    binding = ir = None


@cache
def width() -> int:
    """Floats in a vector; 0: no compiler here."""
    features = binding.get_host_cpu_features() if binding else {}
    widths = {"avx512f": 16, "fma": 8, "neon": 4}
    return next((w for name, w in widths.items() if features.get(name)), 0)


def suit(*tensors: Tensor) -> bool:
    """Whether loops may go over them: float32 in the CPU's memory, and nobody who counts torch's
    operations or transforms them looks on.
    """
    if _get_current_dispatch_mode() is not None or inside_transform():
        return False
    return bool(width()) and all(
        t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors
    )


def inside_transform() -> bool:
    """Whether vmap, grad or another transform of torch.func is at work."""
    return torch._C._functorch.peek_interpreter_stack() is not None


class Loop:
    """A function `name(*pointers to floats, *whole numbers)` that is being written.

    Values are vectors of `width()` floats; places are pointers to floats, at any address.
    """

    def __init__(self, name: str, pointers: int, numbers: int) -> None:
        self.name, self.module = name, ir.Module()
        self.whole, self.float = ir.IntType(64), ir.FloatType()
        self.vector = ir.VectorType(self.float, width())
        arguments = [self.float.as_pointer()] * pointers + [self.whole] * numbers
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), arguments), name)
        self.arguments = function.args
        self.make = ir.IRBuilder(function.append_basic_block())
        self._intrinsics: dict[tuple[str, int], Any] = {}

    def number(self, value: Any) -> Any:
        """A whole number, if it isn't one of the loop's already."""
        return self.whole(value) if isinstance(value, int) else value

    def product(self, *factors: Any) -> Any:
        """Of whole numbers."""
        first, *rest = map(self.number, factors)
        for factor in rest:
            first = self.make.mul(first, factor)
        return first

    def at(self, place: Any, *offsets: Any) -> Any:
        """The place so many floats further on."""
        for offset in offsets:
            place = self.make.gep(place, [self.number(offset)])
        return place

    def load(self, place: Any) -> Any:
        """The vector there."""
        return self.make.load(self.make.bitcast(place, self.vector.as_pointer()), align=4)

    def store(self, value: Any, place: Any) -> None:
        """Write a vector."""
        self.make.store(value, self.make.bitcast(place, self.vector.as_pointer()), align=4)

    def copy(self, source: Any, target: Any) -> None:
        """One float."""
        self.make.store(self.make.load(source), target)

    def constant(self, value: float) -> Any:
        """The same number in all places of a vector."""
        return ir.Constant(self.vector, [float(value)] * width())

    def spread(self, place: Any) -> Any:
        """The float there in all places of a vector."""
        index, mask = ir.IntType(32), ir.VectorType(ir.IntType(32), width())
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.make.insert_element(undefined, self.make.load(place), index(0))
        return self.make.shuffle_vector(one, one, ir.Constant(mask, [0] * width()))

    def call(self, name: str, *values: Any) -> Any:
        """An operation of LLVM's on vectors: "fma", "sqrt", "maxnum"."""
        key = name, len(values)
        if key not in self._intrinsics:
            kind = ir.FunctionType(self.vector, [self.vector] * len(values))
            self._intrinsics[key] = ir.Function(self.module, kind, f"llvm.{name}.v{width()}f32")
        return self.make.call(self._intrinsics[key], values)

    def map(self, matrix: list[list[float]], values: list[Any]) -> list[Any]:
        """The matrix times a column of vectors."""
        results = []
        for row in matrix:
            terms = sorted(((c, v) for c, v in zip(row, values, strict=True) if c), key=_ones_first)
            total: Any = None
            for factor, value in terms:
                if total is None:
                    total = value if factor == 1 else self.make.fmul(self.constant(factor), value)
                elif abs(factor) == 1:
                    total = (self.make.fadd if factor == 1 else self.make.fsub)(total, value)
                else:
                    total = self.call("fma", self.constant(factor), value, total)
            results.append(total)
        return results

    def over(self, stop: Any, body: Callable[[Any], object], start: Any = 0, step: int = 1) -> None:
        """`for i in range(start, stop, step): body(i)`, while a whole step is left."""
        make, before = self.make, self.make.block
        start, stop = self.number(start), self.number(stop)
        head, inside, after = (make.append_basic_block() for _ in range(3))
        make.branch(head)
        make.position_at_end(head)
        here = make.phi(self.whole)
        here.add_incoming(start, before)
        following = make.add(here, self.whole(step))
        make.cbranch(make.icmp_signed("<=", following, stop), inside, after)
        make.position_at_end(inside)
        body(here)
        here.add_incoming(following, make.block)
        make.branch(head)
        make.position_at_end(after)

    def compiled(self) -> Callable[..., None]:
        """Close the function: addresses and whole numbers to nothing."""
        self.make.ret_void()
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        module = binding.parse_assembly(str(self.module))
        machine = binding.Target.from_default_triple().create_target_machine(
            cpu=binding.get_host_cpu_name(), opt=3,
            features=binding.get_host_cpu_features().flatten(),
        )  # fmt: skip
        engine = binding.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        kinds = [
            ctypes.c_int64 if a.type == self.whole else ctypes.c_void_p for a in self.arguments
        ]
        function = ctypes.CFUNCTYPE(None, *kinds)(engine.get_function_address(self.name))
        function.engine = engine  # type: ignore[attr-defined]  # the code lives as long as it does
        return function


def _ones_first(term: tuple[float, Any]) -> bool:
    return term[0] != 1


def in_pieces(run: Callable[[int, int], None], count: int) -> None:
    """`run(first, last)` over `count` things, in as many threads as torch has."""
    threads = min(torch.get_num_threads(), count)
    if threads == 1:
        run(0, count)
        return
    bounds = [count * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, bounds, bounds[1:]))
