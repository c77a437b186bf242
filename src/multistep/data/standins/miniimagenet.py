"""A stand-in for miniImageNet: drawn photographs in either of its two distributions.

An archive whose name ends in .zip gets images and lists, another one pickles.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from multistep.data.standins import photographs
from multistep.data.standins.cifar100 import shuffled
from multistep.data.standins.packing import jpeg, pack
from multistep.progress import progress
from multistep.settings import Model

KIND = "imagenet"  # of which it is a part; tieredImageNet's stand-in has other classes of it


class Settings(Model):
    """`train`, `validation`, `test`: classes; `images` of each; `side` in pixels."""

    train: int = Field(ge=1, le=64)
    validation: int = Field(ge=1, le=16)
    test: int = Field(ge=1, le=20)
    images: int = Field(ge=1)
    side: int = Field(ge=8)
    seed: int = Field(ge=0)


def draw(out: Path, settings: Settings) -> None:
    """Write the archive `out`. Its classes have made-up numbers, n98…."""
    total = settings.images * (settings.train + settings.validation + settings.test)
    with progress(out.name, total, "images") as advance:
        members = _files if out.name.endswith(".zip") else _pickles
        pack(out, settings, members(settings, advance))


def _parts(settings: Settings) -> dict[str, range]:
    """The classes of each part."""
    a, b = settings.train, settings.train + settings.validation
    return {"train": range(a), "val": range(a, b), "test": range(b, b + settings.test)}


def _files(settings: Settings, advance: Callable[[int], None]) -> Iterator[tuple[str, bytes]]:
    for part, classes in _parts(settings).items():
        rows = [
            (f"{_wnid(c)}{n + 1:08}.jpg", c, n) for c in classes for n in range(settings.images)
        ]
        lines = "".join(f"{file},{_wnid(c)}\n" for file, c, _ in rows)
        yield f"{part}.csv", f"filename,label\n{lines}".encode()
        for file, c, n in rows:
            pixels = photographs.image(KIND, c, n, settings.side, settings.seed)
            yield f"images/{file}", jpeg(pixels)
            advance(1)


def _pickles(settings: Settings, advance: Callable[[int], None]) -> Iterator[tuple[str, bytes]]:
    side = settings.side
    for part, classes in _parts(settings).items():
        drawn = shuffled(len(classes), settings.images, 0, settings.seed)
        images = np.empty((len(drawn), side, side, 3), dtype=np.uint8)
        indices: dict[bytes, list[int]] = {_wnid(c).encode(): [] for c in classes}
        for i, (index, number) in enumerate(drawn):
            c = classes[index]
            images[i] = photographs.image(KIND, c, number, side, settings.seed)
            indices[_wnid(c).encode()].append(i)
            advance(1)
        # The first protocol with byte strings, which stand for the official files' (of Python 2).
        data = pickle.dumps({b"image_data": images, b"class_dict": indices}, protocol=3)
        yield f"mini-imagenet-cache-{part}.pkl", data


def _wnid(index: int) -> str:
    return f"n98{index:06}"
