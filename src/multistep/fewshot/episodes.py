"""Episodes: N-way K-shot tasks drawn from classes of uint8 images.

Per task: N distinct classes without replacement; per class K + Q distinct images, the first K the
support set; the label is the class's place in the draw, so it changes from episode to episode; on
Omniglot one of four rotations per class, shared by its support and query images (Finn et al. 2017).

The draw is a pure function of (seed, stream, iteration): a counter-based generator is set to that
position, so no generator state needs to be saved, resuming is exact, and the order does not depend
on workers or devices. Indices are drawn on the CPU; images are gathered and rotated on the device
that holds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from multistep.data.prepared import Prepared
from multistep.fewshot.settings import FewShot
from multistep.files import UserError

STREAMS = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Draw:
    """Which images make up a batch of episodes, as int64 tensors.

    `classes` (of the sampler's) and `turns` (quarter turns): `[tasks, ways]`; `images` (rows of
    the sampler's): `[tasks, ways, K+Q]`; `seeds` of what an algorithm draws itself: `[tasks]`.
    """

    classes: Tensor
    images: Tensor
    turns: Tensor
    seeds: Tensor

    def to(self, device: torch.device) -> Draw:
        return Draw(*(t.to(device, non_blocking=True) for t in vars(self).values()))


@dataclass(frozen=True)
class Batch:
    """Episodes as float images in [0, 1] `[tasks, images, channels, size, size]`, int64 labels;
    `seeds` `[tasks]` (int64) of what an algorithm draws itself.
    """

    support_images: Tensor
    support_labels: Tensor
    query_images: Tensor
    query_labels: Tensor
    seeds: Tensor

    @property
    def tasks(self) -> int:
        return self.support_images.shape[0]

    def split(self, size: int) -> list[Batch]:
        """The same episodes, `size` tasks at a time."""
        parts = zip(*(t.split(size) for t in vars(self).values()), strict=True)
        return [Batch(*part) for part in parts]


@dataclass(frozen=True)
class Sampler:
    """Draws episodes from some classes of a dataset.

    `images`: uint8 `[N, size, size]` or RGB `[N, size, size, 3]`, of any number of classes, on any
    device, and never copied (on a CPU they may be a memory map); class i of these has the
    `counts[i]` rows from `starts[i]` on, int64 `[classes]` (`Prepared.rows`). `stream` keeps
    training, validation and test draws of one seed apart.
    """

    images: Tensor
    starts: np.ndarray
    counts: np.ndarray
    ways: int
    shots: int
    queries: int
    rotate: bool
    seed: int
    stream: str

    def __post_init__(self) -> None:
        classes, per_class = len(self.counts), self.counts.min()
        if self.ways > classes:
            raise UserError(
                f"{self.ways}-way episodes need {self.ways} classes, but the {self.stream} split "
                f"has {classes}; choose fewer ways or another split"
            )
        if self.shots + self.queries > per_class:
            raise UserError(
                f"{self.shots} shots + {self.queries} queries exceed the {per_class} images of a "
                "class; choose fewer"
            )

    @classmethod
    def of(
        cls, dataset: Prepared, images: Tensor, s: FewShot, parts: list[str], stream: str, seed: int
    ) -> Sampler:
        """From the classes of some parts of a dataset; `images`: its own, on any device."""
        rotate = s.rotate_train if stream == "train" else s.rotate_test
        rows = dataset.rows(parts)
        return cls(images, *rows, s.ways, s.shots, s.queries, rotate, seed, stream)

    def draw(self, iteration: int, tasks: int) -> Draw:
        """The episodes of one iteration; the same arguments give the same episodes."""
        rng = np.random.Generator(
            np.random.Philox(key=[self.seed, STREAMS[self.stream]], counter=[0, 0, 0, iteration])
        )
        chosen = _smallest(rng.random((tasks, len(self.counts))), self.ways)
        keys = rng.random((tasks, self.ways, self.counts.max()))
        # A class with fewer images than the largest never gets to these.
        keys[np.arange(keys.shape[2]) >= self.counts[chosen][:, :, None]] = 2
        images = self.starts[chosen][:, :, None] + _smallest(keys, self.shots + self.queries)
        turns = rng.integers(0, 4, (tasks, self.ways))
        if not self.rotate:
            turns[:] = 0
        seeds = rng.integers(2**62, size=tasks)
        # `draw` may be called ahead of the device: the arrays are fresh, never reused.
        arrays = (chosen, images, turns, seeds)
        return Draw(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays))

    def gather(self, draw: Draw) -> Batch:
        """The images of a draw, rotated, scaled to [0, 1], split into support and query."""
        tasks, ways = draw.classes.shape
        x = self.images[draw.images]
        if self.rotate:
            x = rotate(x, draw.turns)
        x = x.movedim(5, 3) if x.ndim == 6 else x.unsqueeze(3)
        labels = torch.arange(ways, device=x.device).unsqueeze(1)
        parts: list[Tensor] = []
        for part in x.split([self.shots, self.queries], dim=2):
            images = part.flatten(1, 2).contiguous()
            parts += [
                images.to(torch.get_default_dtype()).div_(255),
                labels.expand(tasks, ways, part.shape[2]).flatten(1, 2),
            ]
        return Batch(*(*parts, draw.seeds))

    def batch(self, iteration: int, tasks: int) -> Batch:
        return self.gather(self.draw(iteration, tasks).to(self.images.device))

    def numbered(self, episodes: int, size: int) -> Iterator[Batch]:
        """So many episodes, `size` at a time. Each is drawn by its own number, so more of them
        begin with the same.
        """
        for start in range(0, episodes, size):
            draws = [self.draw(i, 1) for i in range(start, min(start + size, episodes))]
            yield self.gather(join(draws).to(self.images.device))


def stacked(images: Tensor) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """`images`, `starts` and `counts` of a sampler for classes of equal size: uint8
    `[classes, per class, size, size]`, or the same in RGB with a last dimension of 3.
    """
    classes, per_class = images.shape[:2]
    return images.flatten(0, 1), per_class * np.arange(classes), np.full(classes, per_class)


def _smallest(keys: np.ndarray, count: int) -> np.ndarray:
    """Where the `count` smallest numbers along the last axis are, in ascending order.

    Of random keys they are a uniform subset, in a uniform order.
    """
    chosen = np.argpartition(keys, count - 1, axis=-1)[..., :count]
    order = np.take_along_axis(keys, chosen, axis=-1).argsort(axis=-1)
    return np.take_along_axis(chosen, order, axis=-1)


def join(draws: list[Draw]) -> Draw:
    """Several draws as one, tasks in order."""
    columns = zip(*(vars(d).values() for d in draws), strict=True)
    return Draw(*(torch.cat(column) for column in columns))


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Quarter turns `[tasks, ways]` of square images `[tasks, ways, n, size, size]`, or with
    channels behind.

    All four turns are made and one is picked: static shapes, so that a CUDA graph can hold it.
    """
    turned = torch.stack([torch.rot90(x, k, (3, 4)) for k in range(4)])
    tasks = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    ways = torch.arange(x.shape[1], device=x.device)
    return turned[turns, tasks, ways]
