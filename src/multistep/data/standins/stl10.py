"""A stand-in for STL-10: drawn photographs in its binaries, and a few unlabelled ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from multistep.data.loaders.stl10 import FOLDER, SIDE
from multistep.data.standins import photographs
from multistep.data.standins.cifar100 import shuffled
from multistep.data.standins.packing import pack
from multistep.progress import progress
from multistep.settings import Model


class Settings(Model):
    """How much is drawn; `train` and `test` are images per class, `unlabeled` in all."""

    classes: int = Field(ge=1, le=photographs.KINDS["stl10"])
    train: int = Field(ge=1)
    test: int = Field(ge=1)
    unlabeled: int = Field(ge=0)
    seed: int = Field(ge=0)


def draw(out: Path, settings: Settings) -> None:
    """Write the archive `out` (tar.gz), images in a shuffled order."""
    total = settings.classes * (settings.train + settings.test) + settings.unlabeled
    with progress(out.name, total, "images") as advance:
        pack(out, settings, _members(settings, advance))


def _members(settings: Settings, advance: Callable[[int], None]) -> Iterator[tuple[str, bytes]]:
    def one(label: int, number: int) -> bytes:
        advance(1)
        return _columns(photographs.image("stl10", label, number, SIDE, settings.seed))

    classes, first = settings.classes, 0
    for part, count in (("train", settings.train), ("test", settings.test)):
        drawn = shuffled(classes, count, first, settings.seed)
        yield f"{FOLDER}/{part}_X.bin", b"".join(one(label, number) for label, number in drawn)
        yield f"{FOLDER}/{part}_y.bin", bytes(label + 1 for label, _ in drawn)
        first += count
    unlabeled = b"".join(one(i % classes, first + i) for i in range(settings.unlabeled))
    yield f"{FOLDER}/unlabeled_X.bin", unlabeled
    lines = "".join(f"{name}\n" for name in photographs.names("stl10", classes))
    yield f"{FOLDER}/class_names.txt", lines.encode()


def _columns(pixels: np.ndarray) -> bytes:
    """Channel by channel, and each column by column, as Matlab writes them."""
    return pixels.transpose(2, 1, 0).tobytes()
