"""How many bytes autograd keeps for the way back, at the peak: any machine can count them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class _Held:
    """A saved tensor; it counts its storage while it lives, each storage once."""

    def __init__(self, tensor: Tensor, count: _Count) -> None:
        self.tensor, self.count = tensor, count
        self.key = tensor.untyped_storage().data_ptr()
        count.take(self.key, tensor.untyped_storage().nbytes())

    def __del__(self) -> None:
        self.count.drop(self.key)


class _Count:
    def __init__(self) -> None:
        self.held: dict[int, tuple[int, int]] = {}  # storage -> (holders, bytes)
        self.now = self.peak = 0

    def take(self, key: int, size: int) -> None:
        holders, _ = self.held.get(key, (0, size))
        if not holders:
            self.now += size
            self.peak = max(self.peak, self.now)
        self.held[key] = (holders + 1, size)

    def drop(self, key: int) -> None:
        holders, size = self.held.pop(key)
        if holders > 1:
            self.held[key] = (holders - 1, size)
        else:
            self.now -= size


@contextmanager
def saved_bytes() -> Iterator[Callable[[], int]]:
    """Yield a function that tells the most bytes that were saved for backward at one time.

    Parameters count too, once each: they are what a graph refers to.
    """
    count = _Count()

    def pack(tensor: Tensor) -> _Held:
        return _Held(tensor, count)

    def unpack(held: _Held) -> Tensor:
        return held.tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield lambda: count.peak
