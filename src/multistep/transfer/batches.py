"""Seeded mini-batches of a prepared image set: shuffled every epoch, the last one as it comes.

Order and augmentation are pure functions of (seed, epoch, number of the batch): counter-based
generators are set to that position. So nothing of them needs to be saved, a run that was killed
goes on with the very pictures it would have seen, and the number of loaders changes nothing.

Images of one size that are only padded and cropped stay on the device as bytes if they fit.
Otherwise loader threads read and resize ahead of the training; threads and not processes, since
Pillow resizes and NumPy copies outside the interpreter lock, and they share the memory map.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multistep.data.prepared import Prepared
from multistep.files import UserError
from multistep.transfer import augment
from multistep.transfer.source_settings import Batching

Batch = tuple[Tensor, Tensor]  # x: normalised float32 [B, 3, size, size]; y: int64 [B]

ORDER, AUGMENTATION = 0, 1  # streams of random numbers of one seed
RESIDENT = 0.2  # the share of a GPU's free memory that images may take
# Evaluation crops are the same every epoch: made once and kept in host memory up to this size.
KEEP_BYTES = 2 << 30


@dataclass(frozen=True)
class _Loaded:
    """A batch before the work on the device: its random numbers and uint8 `[B, H, W, 3]`.

    `pixels` are None if the device holds the images and only has to be told which.
    """

    chosen: Tensor
    labels: Tensor
    pixels: Tensor | None
    offsets: Tensor | None
    flips: Tensor | None

    def map(self, f: Callable[[Tensor], Tensor]) -> _Loaded:
        fields: dict[str, Any] = {k: v if v is None else f(v) for k, v in vars(self).items()}
        return _Loaded(**fields)


class Batches:
    """Batches of one part for training, and of any part for evaluation.

    `loaders`: threads that prepare large images, 0 for none (in line); None: up to four beside a
    GPU, none on a CPU, whose cores the training has. The batches are the same. `shapes`: of the
    images, int64 `[N, 2]`. Raises UserError if a part has no images or they don't fit the settings.
    """

    def __init__(
        self, images: Prepared, part: str, s: Batching, device: torch.device, seed: int,
        loaders: int | None = None,
    ) -> None:  # fmt: skip
        self.images, self.s, self.device, self.seed = images, s, device, seed
        if loaders is None:
            loaders = min(4, os.cpu_count() or 1) if device.type == "cuda" else 0
        self.loaders = loaders
        self.indices = self._indices(part)
        self.at_once = s.augmentation == "pad_crop"
        if images.shapes is None:
            side = np.array(images.images.shape[1:3], np.int64)
            self.shapes = np.broadcast_to(side, (len(images), 2))
        else:
            self.shapes = np.asarray(images.shapes, np.int64)
        if self.at_once and not (self.shapes == s.size).all():
            ends = [f"{h}x{w}" for h, w in (self.shapes.min(0), self.shapes.max(0))]
            raise UserError(
                f"{images.name}: pad_crop takes images of {s.size}x{s.size}, but its images are "
                f"{' to '.join(dict.fromkeys(ends))}; set prepare.size of the dataset to {s.size}, "
                "or augmentation: random_resized_crop"
            )
        self.resident = _resident(images.images, device) if self.at_once else None
        self._crops: dict[str, np.ndarray] = {}  # by part, uint8 [N, size, size, 3]
        self._done: set[tuple[str, int]] = set()  # (part, batch) that _crops holds

    def __len__(self) -> int:
        return self._count(self.indices)

    @property
    def count(self) -> int:
        """Training images, that is images per epoch."""
        return len(self.indices)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The shuffled, augmented batches of an epoch, from its batch `start` on."""
        order = self.indices[order_of(self.count, self.seed, number)]
        return self._run(partial(self._training, order, number), range(start, len(self)))

    def evaluation(self, part: str) -> Iterator[Batch]:
        """The images of a part in order, without augmentation."""
        indices = self._indices(part)
        numbers = range(self._count(indices))
        return self._run(partial(self._evaluation, part, indices), numbers)

    def _run(self, load: Callable[[int], _Loaded], numbers: range) -> Iterator[Batch]:
        # Small images take no time: on the device at once, on the CPU a copy of some kilobytes.
        quick = self.at_once and (self.resident is not None or self.device.type == "cpu")
        loaders = 0 if quick else self.loaders
        with contextlib.closing(_ahead(load, numbers, loaders)) as source:
            yield from map(self._finish, source)

    def _training(self, order: np.ndarray, epoch: int, batch: int) -> _Loaded:
        chosen = self._slice(order, batch)
        rng = generator(self.seed, AUGMENTATION, epoch, batch)
        size, n = self.s.size, len(chosen)
        flips = torch.from_numpy(rng.random(n) < 0.5)
        if self.at_once:
            offsets = torch.from_numpy(rng.integers(0, 2 * augment.PAD + 1, (n, 2)))
            return self._loaded(chosen, self._gather(chosen), offsets, flips)
        crop: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
        if self.s.augmentation == "random_resized_crop":
            crop, places = augment.resized_crop, augment.random_boxes(self.shapes[chosen], rng)
        else:
            crop = augment.crop_resized
            places = rng.integers(0, augment.larger(size) - size + 1, (n, 2))
        pixels = np.empty((n, size, size, 3), np.uint8)
        for i, image in enumerate(chosen):
            pixels[i] = crop(self.images.pixels(image), places[i], size)
        return self._loaded(chosen, pixels, None, flips)

    def _evaluation(self, part: str, indices: np.ndarray, batch: int) -> _Loaded:
        chosen = self._slice(indices, batch)
        if self.at_once:
            return self._loaded(chosen, self._gather(chosen))
        size = self.s.size
        if part not in self._crops and len(indices) * size * size * 3 <= KEEP_BYTES:
            # Two loaders may both make one: setdefault keeps the first.
            self._crops.setdefault(part, np.empty((len(indices), size, size, 3), np.uint8))
        if part in self._crops:
            pixels = self._slice(self._crops[part], batch)
        else:
            pixels = np.empty((len(chosen), size, size, 3), np.uint8)
        squares = self.s.augmentation == "resize_crop"
        central = augment.central_square if squares else augment.central_crop
        if (part, batch) not in self._done:
            for i, image in enumerate(chosen):
                pixels[i] = central(self.images.pixels(image), size)
            if part in self._crops:
                self._done.add((part, batch))
        return self._loaded(chosen, pixels)

    def _gather(self, chosen: np.ndarray) -> np.ndarray | None:
        """Whole images from the memory map, unless the device holds them."""
        return self.images.images[chosen] if self.resident is None else None

    def _loaded(
        self, chosen: np.ndarray, pixels: np.ndarray | None, offsets: Tensor | None = None,
        flips: Tensor | None = None,
    ) -> _Loaded:  # fmt: skip
        loaded = _Loaded(
            torch.from_numpy(chosen), torch.from_numpy(self.images.labels[chosen]),
            None if pixels is None else torch.from_numpy(pixels), offsets, flips,
        )  # fmt: skip
        # Copies from pinned memory don't hold up the training.
        return loaded.map(Tensor.pin_memory) if self.device.type == "cuda" else loaded

    def _finish(self, loaded: _Loaded) -> Batch:
        """The work on the device."""
        loaded = loaded.map(lambda value: value.to(self.device, non_blocking=True))
        pixels = loaded.pixels
        if pixels is None:
            assert self.resident is not None
            pixels = self.resident[loaded.chosen]
        if loaded.flips is None:
            x = augment.channels_first(pixels)
        elif loaded.offsets is not None:
            x = augment.crop_padded(pixels, loaded.offsets, loaded.flips)
        else:
            x = augment.flip(augment.channels_first(pixels), loaded.flips)
        return augment.normalise(x), loaded.labels

    def _indices(self, part: str) -> np.ndarray:
        indices = self.images.splits.get(part)
        if indices is None or not len(indices):
            raise UserError(
                f"{self.images.name}: it has no {part} images; its parts are "
                f"{', '.join(k for k, v in self.images.splits.items() if len(v))}"
            )
        return np.asarray(indices, np.int64)

    def _count(self, indices: np.ndarray) -> int:
        return -(-len(indices) // self.s.batch_size)

    def _slice(self, array: np.ndarray, batch: int) -> np.ndarray:
        return array[batch * self.s.batch_size : (batch + 1) * self.s.batch_size]


def generator(seed: int, stream: int, epoch: int, batch: int = 0) -> np.random.Generator:
    """Random numbers of one position; other positions have others."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, batch, epoch]))


def order_of(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of `count` images, int64."""
    return generator(seed, ORDER, epoch).permutation(count)


def count_correct(logits: Callable[[Tensor], Tensor], batches: Iterable[Batch]) -> tuple[int, int]:
    """How many images are classified correctly, of how many; `logits` maps x to `[B, classes]`.

    Raises UserError for logits that aren't finite: of those the first class would be taken.
    """
    correct: Tensor | int = 0
    wrong: Tensor | int = 0
    count = 0
    with torch.no_grad():
        for x, y in batches:
            # Summed on the device: reading each batch's number would wait for it.
            z = logits(x)
            correct = correct + (z.argmax(1) == y).sum()
            wrong = wrong + (~z.isfinite()).any(1).sum()
            count += len(y)
    if wrong:
        raise UserError(
            f"the output for {int(wrong)} of {count} images is not finite: training has diverged; "
            "lower lr or meta_lr (or these are no weights of a trained network)"
        )
    return int(correct), count


def _ahead(
    load: Callable[[int], _Loaded], numbers: range, loaders: int
) -> Generator[_Loaded, None, None]:
    """`load` of each number, in order, done ahead by `loaders` threads."""
    if loaders == 0:
        yield from map(load, numbers)
        return
    pool = ThreadPoolExecutor(loaders, "loader")
    waiting: deque[Future[_Loaded]] = deque()
    try:
        for number in numbers:
            waiting.append(pool.submit(load, number))
            if len(waiting) > 2 * loaders:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _resident(images: np.ndarray, device: torch.device) -> Tensor | None:
    """The images on the GPU, if they fit; None: they are gathered from the memory map."""
    if device.type != "cuda" or images.nbytes > RESIDENT * torch.cuda.mem_get_info(device)[0]:
        return None
    there = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for begin in range(0, len(images), 4096):
        there[begin : begin + 4096] = torch.from_numpy(np.array(images[begin : begin + 4096]))
    return there
