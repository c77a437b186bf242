"""Episodes: N-way K-shot tasks drawn from classes of uint8 images.

Per task: N distinct classes without replacement; per class K + Q distinct images, the first K the
support set; the label is the class's place in the draw, so it changes from episode to episode; one
of four rotations per class, shared by its support and query images (Finn et al. 2017).

The draw is a pure function of (seed, stream, iteration): a counter-based generator is set to that
position, so no generator state needs to be saved, resuming is exact, and the order does not depend
on workers or devices. Indices are drawn on the CPU; images are gathered and rotated on the device
that holds them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from multistep.files import UserError

STREAMS = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Draw:
    """Which images make up a batch of episodes, as int64 tensors.

    `classes` and `turns` (quarter turns): `[tasks, ways]`; `images`: `[tasks, ways, K+Q]`.
    """

    classes: Tensor
    images: Tensor
    turns: Tensor

    def to(self, device: torch.device) -> Draw:
        return Draw(
            *(t.to(device, non_blocking=True) for t in (self.classes, self.images, self.turns))
        )


@dataclass(frozen=True)
class Batch:
    """Episodes as float images in [0, 1] `[tasks, images, 1, size, size]` and int64 labels."""

    support_images: Tensor
    support_labels: Tensor
    query_images: Tensor
    query_labels: Tensor

    @property
    def tasks(self) -> int:
        return self.support_images.shape[0]

    def split(self, size: int) -> list[Batch]:
        """The same episodes, `size` tasks at a time."""
        parts = zip(*(t.split(size) for t in vars(self).values()), strict=True)
        return [Batch(*part) for part in parts]


@dataclass(frozen=True)
class Sampler:
    """Draws episodes from `images`, uint8 `[classes, per class, size, size]` (one split's classes).

    `stream` keeps training, validation and test draws of one seed apart.
    """

    images: Tensor
    ways: int
    shots: int
    queries: int
    rotate: bool
    seed: int
    stream: str

    def __post_init__(self) -> None:
        classes, per_class = self.images.shape[:2]
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

    def draw(self, iteration: int, tasks: int) -> Draw:
        """The episodes of one iteration; the same arguments give the same episodes."""
        rng = np.random.Generator(
            np.random.Philox(key=[self.seed, STREAMS[self.stream]], counter=[0, 0, 0, iteration])
        )
        classes, per_class = self.images.shape[:2]
        keys = rng.random((tasks, classes))
        # The N smallest keys are a uniform N-subset; sorting them makes their order uniform too.
        chosen = np.argpartition(keys, self.ways - 1, axis=1)[:, : self.ways]
        order = np.take_along_axis(keys, chosen, axis=1).argsort(axis=1)
        chosen = np.take_along_axis(chosen, order, axis=1)
        images = rng.random((tasks, self.ways, per_class)).argsort(axis=2)
        images = images[:, :, : self.shots + self.queries]
        turns = rng.integers(0, 4, (tasks, self.ways))
        if not self.rotate:
            turns[:] = 0
        # `draw` may be called ahead of the device: the arrays are fresh, never reused.
        return Draw(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (chosen, images, turns)))

    def gather(self, draw: Draw) -> Batch:
        """The images of a draw, rotated, scaled to [0, 1], split into support and query."""
        tasks, ways = draw.classes.shape
        x = rotate(self.images[draw.classes.unsqueeze(2), draw.images], draw.turns)
        x = x.unsqueeze(3).to(torch.get_default_dtype()).div_(255)
        labels = torch.arange(ways, device=x.device).unsqueeze(1)
        parts: list[Tensor] = []
        for part in x.split([self.shots, self.queries], dim=2):
            count = part.shape[2]
            parts += [part.flatten(1, 2), labels.expand(tasks, ways, count).flatten(1, 2)]
        return Batch(*parts)

    def batch(self, iteration: int, tasks: int) -> Batch:
        """Draw and gather."""
        return self.gather(self.draw(iteration, tasks).to(self.images.device))


def join(draws: list[Draw]) -> Draw:
    """Several draws as one, tasks in order."""
    columns = zip(*(vars(d).values() for d in draws), strict=True)
    return Draw(*(torch.cat(column) for column in columns))


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Quarter turns `[tasks, ways]` of square images `[tasks, ways, n, size, size]`.

    All four turns are made and one is picked: static shapes, so that a CUDA graph can hold it.
    """
    turned = torch.stack([torch.rot90(x, k, (3, 4)) for k in range(4)])
    tasks = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    ways = torch.arange(x.shape[1], device=x.device)
    return turned[turns, tasks, ways]
