"""What a CUDA graph does, on the CPU: operations are noted once and run again on the same memory.

What a graph can't hold is refused while they are noted: values that are read on the host, tensors
made of the host's numbers, results whose size depends on values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

OPERATIONS = {
    "_local_scalar_dense", "bincount", "equal", "is_nonzero", "lift_fresh", "masked_select",
    "nonzero", "nonzero_numpy", "repeat_interleave", "unique_consecutive", "unique_dim", "_unique",
    "_unique2",
}  # fmt: skip
# On a CPU these don't show up as operations.
FUNCTIONS = {"tolist", "numpy", "cpu", "item", "__bool__", "__float__", "__int__", "__array__"}


class HostReadError(AssertionError):
    """Something that a graph can't hold."""


class Guard(TorchDispatchMode):
    """Refuses such operations, and those between devices; counts the others that compute."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # fmt: skip
        name = func.overloadpacket.__name__
        if name in OPERATIONS or (name.startswith("index") and torch.bool in _types(args[1:])):
            raise HostReadError(f"{func} reads values, or makes a tensor of the host's")
        self.before(args, kwargs)
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
        devices = {t.device.type for t in tensors if t.dim()}
        if len(devices) > 1:
            raise HostReadError(f"{func} goes from {' to '.join(sorted(devices))}")
        self.count += not func.is_view
        self.after(func, args, kwargs, result)
        return result

    def before(self, args: Any, kwargs: Any) -> None:
        pass

    def after(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        pass


class _Functions(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # fmt: skip
        if getattr(func, "__name__", "") in FUNCTIONS:
            raise HostReadError(f"Tensor.{func.__name__} reads values")
        return func(*args, **(kwargs or {}))


@contextmanager
def guarded(guard: Guard | None = None) -> Iterator[Guard]:
    """Refuse what a graph can't hold in this block."""
    guard = guard or Guard()
    with _Functions(), guard:
        yield guard


def unguarded(work: Callable[..., Any]) -> Callable[..., Any]:
    """What may read on the host, for it reads nothing of a device."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with torch._C.DisableTorchFunction(), _disable_current_modes():
            return work(*args, **kwargs)

    return run


class Recorder(Guard):
    """`record` is a `multistep.fewshot.trainer.Record`."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[Any, Any, Any, Any]] = []
        self.memory: dict[int, tuple[Tensor, Tensor]] = {}  # bytes, and what was there before

    def record(
        self, work: Callable[[], None], rehearse: Callable[[], None], pool: Any
    ) -> Callable[[], None]:
        rehearse()
        with guarded(self):
            work()
        for memory, values in self.memory.values():  # recording computes nothing that counts
            memory.copy_(values)
        return self.replay

    def before(self, args: Any, kwargs: Any) -> None:
        for t in tree_leaves((args, kwargs)):
            if isinstance(t, Tensor):
                storage = t.untyped_storage()
                if storage.data_ptr() not in self.memory:
                    memory = torch.empty(0, dtype=torch.uint8).set_(storage)
                    self.memory[storage.data_ptr()] = memory, memory.clone()

    def after(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        self.noted.append((func, args, kwargs or {}, result))

    @torch.no_grad()
    def replay(self) -> None:
        """Run them; what they make goes where it was then, and new memory holds nothing usable."""
        for func, args, kwargs, result in self.noted:
            made = func(*args, **kwargs)
            for new, old in zip(tree_leaves(made), tree_leaves(result), strict=True):
                if isinstance(new, Tensor) and new.data_ptr() != old.data_ptr():
                    old.copy_(new)
                    if "empty" in func.overloadpacket.__name__ and old.is_floating_point():
                        old.fill_(torch.nan)


def _types(values: Any) -> set[torch.dtype]:
    return {t.dtype for t in tree_leaves(values) if isinstance(t, Tensor)}
