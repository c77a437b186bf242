"""A stand-in for tieredImageNet: drawn photographs as PNG files in pickles, classes of any size."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from multistep.data.standins import photographs
from multistep.data.standins.miniimagenet import KIND
from multistep.data.standins.packing import pack
from multistep.progress import progress
from multistep.settings import Model

FOLDER = "tiered-imagenet"
_FIRST = 100  # those before are miniImageNet's


class Settings(Model):
    """`train`, `validation`, `test`: classes; `images`: of the smallest class and of the largest;
    `side` in pixels.
    """

    train: int = Field(ge=1, le=351)
    validation: int = Field(ge=1, le=97)
    test: int = Field(ge=1, le=160)
    images: list[int] = Field(min_length=2, max_length=2)
    side: int = Field(ge=8)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Settings:
        if not 1 <= self.images[0] <= self.images[1]:
            raise ValueError("images: two numbers, at least 1, the least first")
        return self


def draw(out: Path, settings: Settings) -> None:
    """Write the archive `out` (tar). Its classes have made-up numbers, n97…."""
    classes = settings.train + settings.validation + settings.test
    total = sum(size(i, settings) for i in range(classes))
    with progress(out.name, total, "images") as advance:
        pack(out, settings, _members(settings, classes, advance))


def size(index: int, settings: Settings) -> int:
    """Images of a class: neighbours differ, and both ends of the range occur."""
    low, high = settings.images
    return low + index * 3 % (high - low + 1)


def _members(
    settings: Settings, classes: int, advance: Callable[[int], None]
) -> Iterator[tuple[str, bytes]]:
    names = photographs.names(KIND, _FIRST + classes)[_FIRST:]
    numbers = [f"n97{i:06}" for i in range(classes)]
    yield f"{FOLDER}/synsets.txt", "".join(f"{number}\n" for number in numbers).encode()
    yield f"{FOLDER}/class_names.txt", "".join(f"{name}\n" for name in names).encode()
    first = 0
    for part, count in (
        ("train", settings.train), ("val", settings.validation), ("test", settings.test),
    ):  # fmt: skip
        files, labels = [], []
        for index in range(first, first + count):
            for number in range(size(index, settings)):
                pixels = photographs.image(
                    KIND, _FIRST + index, number, settings.side, settings.seed
                )
                files.append(_png(pixels))
                labels.append(index - first)
                advance(1)
        yield f"{FOLDER}/{part}_images_png.pkl", pickle.dumps(files, protocol=3)
        described = {
            b"label_specific": np.array(labels, dtype=np.int32),
            b"label_specific_str": [name.encode() for name in names[first : first + count]],
        }
        yield f"{FOLDER}/{part}_labels.pkl", pickle.dumps(described, protocol=3)
        first += count


def _png(pixels: np.ndarray) -> np.ndarray:
    """A PNG file as OpenCV returns it: uint8 `[bytes, 1]`."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return np.frombuffer(file.getvalue(), dtype=np.uint8)[:, None].copy()
