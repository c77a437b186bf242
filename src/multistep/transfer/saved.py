"""How many bytes autograd keeps for the way back, at the peak: any machine can count them."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class _Held:
    """A saved tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@contextmanager
def saved_bytes() -> Iterator[Callable[[], int]]:
    """Yield a function that tells the most bytes that were saved for backward at one time.

    Each storage counts once, while any saved tensor lives in it. Parameters count too: they are
    what a graph refers to.
    """
    holders: Counter[int] = Counter()  # by storage
    now = peak = 0

    def pack(tensor: Tensor) -> _Held:
        nonlocal now, peak
        storage, held = tensor.untyped_storage(), _Held(tensor)
        key, size = storage.data_ptr(), storage.nbytes()
        if not holders[key]:
            now += size
            peak = max(peak, now)
        holders[key] += 1
        weakref.finalize(held, drop, key, size)
        return held

    def drop(key: int, size: int) -> None:
        nonlocal now
        holders[key] -= 1
        if not holders[key]:
            now -= size

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
        yield lambda: peak
