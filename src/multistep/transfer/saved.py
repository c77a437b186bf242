"""How many bytes autograd keeps for the way back, at the peak: any machine can count them."""

import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Meter:
    """Adds up the bytes of storages while somebody holds them; `peak`: the most at one time.

    `ignored`: the addresses of storages that don't count.
    """

    def __init__(self, ignored: Collection[int] = ()) -> None:
        self.ignored = ignored
        self.holders: Counter[int] = Counter()  # by storage
        self.now = self.peak = 0

    def hold(self, owner: object, tensor: Tensor) -> None:
        """Count a tensor's storage until `owner` dies; one that several hold counts once."""
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        if key in self.ignored:
            return
        if not self.holders[key]:
            self.now += size
            self.peak = max(self.peak, self.now)
        self.holders[key] += 1
        weakref.finalize(owner, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self.holders[key] -= 1
        if not self.holders[key]:
            self.now -= size


class _Held:
    """A saved tensor; of a class of its own, so that its death is seen."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@contextmanager
def saved_bytes(ignored: Collection[int] = ()) -> Iterator[Callable[[], int]]:
    """Yield a function that tells the most bytes that were saved for backward at one time.

    Each storage counts once, while any saved tensor lives in it. Parameters count too: they are
    what a graph refers to. `ignored`: see `Meter`.
    """
    meter = Meter(ignored)

    def pack(tensor: Tensor) -> _Held:
        held = _Held(tensor)
        meter.hold(held, tensor)
        return held

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
        yield lambda: meter.peak
