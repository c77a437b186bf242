"""A stand-in for CIFAR-100: drawn photographs in its pickles."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from multistep.data.cifar import FOLDER, SIDE
from multistep.data.standins import photographs
from multistep.data.standins.packing import pack
from multistep.progress import progress
from multistep.settings import Model


class Settings(Model):
    """How much is drawn; `train` and `test` are images per class, validation included."""

    classes: int = Field(ge=1, le=photographs.KINDS["cifar100"])
    train: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = Field(ge=0)


def draw(out: Path, settings: Settings) -> None:
    """Write the archive `out` (tar.gz) with train, test and meta, images in a shuffled order."""
    total = settings.classes * (settings.train + settings.test)
    with progress(out.name, total, "images") as advance:
        pack(out, settings, _members(settings, advance))


def _members(settings: Settings, advance: Callable[[int], None]) -> Iterator[tuple[str, bytes]]:
    first = 0
    for part, count in (("train", settings.train), ("test", settings.test)):
        drawn = shuffled(settings.classes, count, first, settings.seed)
        # Each row is all of red, then green, then blue.
        data = np.empty((len(drawn), 3 * SIDE * SIDE), dtype=np.uint8)
        for row, (label, number) in enumerate(drawn):
            pixels = photographs.image("cifar100", label, number, SIDE, settings.seed)
            data[row] = pixels.transpose(2, 0, 1).ravel()
            advance(1)
        yield f"{FOLDER}/{part}", _pickled(part, data, [label for label, _ in drawn])
        first += count
    names = [name.encode() for name in photographs.names("cifar100", settings.classes)]
    yield f"{FOLDER}/meta", _dumped({b"fine_label_names": names})


def shuffled(classes: int, count: int, first: int, seed: int) -> list[tuple[int, int]]:
    """(class, number) of `count` images of every class, numbered from `first`, in a fixed order."""
    order = np.random.default_rng([seed, first]).permutation(classes * count)
    return [(int(i) // count, first + int(i) % count) for i in order]


def _pickled(part: str, data: np.ndarray, labels: list[int]) -> bytes:
    return _dumped(
        {
            b"filenames": [f"drawn_{part}_{i:06}.png".encode() for i in range(len(labels))],
            b"batch_label": f"drawn {part}".encode(),
            b"fine_labels": labels,
            b"coarse_labels": [label // 5 for label in labels],
            b"data": data,
        }
    )


def _dumped(value: object) -> bytes:
    # The first protocol that has byte strings, which the official files (of Python 2) are full of.
    return pickle.dumps(value, protocol=3)
