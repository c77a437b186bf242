"""What compiled loops are written in, and where they aren't taken."""

import importlib.util
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from multistep import machine_code
from multistep.machine_code import Code, Value, columns, suit, width

compiler = pytest.mark.skipif(not width(), reason="no compiler for this machine")


@compiler
@pytest.mark.parametrize("fused", [False, True])
def test_products_are_rounded_before_they_are_added_up_unless_fused(fused: bool) -> None:
    code = Code("axpy", "nffff", width(), fused=fused)
    count, *inputs, out = code.arguments

    def row(i: Value) -> None:
        a, b, c = (code.load(p, i) for p in inputs)
        code.store(a * b + c, out, i)

    code.loop(0, count, width(), row)
    a, b, c = torch.randn(3, 1000 * width(), generator=torch.Generator().manual_seed(0))
    found = torch.empty_like(a)
    code.compiled()(len(a), *(t.data_ptr() for t in (a, b, c, found)))
    once, twice = (a.double() * b.double() + c.double()).float(), a * b + c
    assert not torch.equal(once, twice)
    assert torch.equal(found, once if fused else twice)


@compiler
def test_loops_are_taken_by_floats_that_nobody_looks_at() -> None:
    x, sizes = torch.zeros(3), (width(), 2 * width())
    assert suit(x, x, sizes=sizes)
    assert not suit(x, sizes=(*sizes, width() + 1))
    assert not suit(x, x.double())
    assert not suit(x, x.to("meta"))
    with FlopCounterMode(display=False):
        assert not suit(x)
    seen: list[bool] = []
    torch.func.vmap(lambda t: (seen.append(suit(t)), t)[1])(x)
    assert seen == [False]


def test_without_a_compiler_nothing_suits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    spec = importlib.util.spec_from_file_location("alone", machine_code.__file__)
    assert spec is not None
    assert spec.loader is not None
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)
    assert (alone.width(), alone.columns(64)) == (0, 0)
    assert not alone.suit(torch.zeros(64), sizes=(64,))


@compiler
@pytest.mark.parametrize("most", [1, 2, 4])
def test_columns_are_whole_vectors_that_divide_a_row(most: int) -> None:
    for vectors in (1, 2, 3, 4, 6, 8):
        found = columns(vectors * width(), most)
        assert found % width() == 0 < found <= most * width()
        assert vectors * width() % found == 0
    assert columns(width() + 1, most) == 0
