"""Prepared few-shot datasets: one uint8 array and its description, memory-mapped by training.

`images.npy` is `[classes, images per class, size, size]` where all classes have as many images, or
RGB `[images, size, size, 3]`, class after class, with `counts` in the `dataset.json` beside it.
Both are read as one row of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multistep.files import UserError, read_json, sha256

_AGAIN = "delete the folder and run `snakemake data`"


@dataclass(frozen=True)
class Prepared:
    """`images`: uint8 `[N, size, size]` or RGB `[N, size, size, 3]`, a memory map.

    Class c (of `classes`, their names) has the `counts[c]` images from `starts[c]` on, both int64
    `[classes]`; `splits`: class indices of train, validation and test.
    """

    name: str
    title: str
    images: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    classes: list[str]
    splits: dict[str, list[int]]
    digest: str

    @property
    def size(self) -> int:
        """Pixels of a side."""
        return int(self.images.shape[1])

    @property
    def channels(self) -> int:
        """1 of grey images, 3 of RGB."""
        return 1 if self.images.ndim == 3 else 3

    def rows(self, splits: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """`starts` and `counts` of the classes of these splits, in their order."""
        classes = [c for split in splits for c in self.splits[split]]
        return self.starts[classes], self.counts[classes]


def load(folder: Path) -> Prepared:
    """Open a prepared dataset and verify its digest: a damaged array never trains silently.

    The whole file is read for it, of whatever size: a size and a time of change don't tell that a
    bit is still the same, and what was read lies in the page cache when training asks for it.
    """
    about = read_json(folder / "dataset.json")
    try:
        # Copy on write: torch takes no array that it can't write to.
        images = np.load(folder / "images.npy", mmap_mode="c")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'images.npy'}: can't be read ({error}); {_AGAIN}") from None
    try:
        row, counts = _row(images, about)
    except ValueError as error:
        raise UserError(
            f"{folder}: images.npy {images.dtype}{list(images.shape)} doesn't fit the "
            f"{len(about['classes'])} classes of dataset.json ({error}); {_AGAIN}"
        ) from None
    if sha256(folder / "images.npy") != about["digest"]:
        raise UserError(
            f"{folder / 'images.npy'}: its bytes differ from the digest in dataset.json; {_AGAIN}"
        )
    return Prepared(
        about["name"], about["title"], row, np.cumsum(counts) - counts, counts, about["classes"],
        about["splits"], about["digest"],
    )  # fmt: skip


def _row(images: np.ndarray, about: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The images in a row, not copied, and how many of each class; ValueError where they differ."""
    if images.dtype != np.uint8:
        raise ValueError("not bytes")
    if images.ndim != 4:
        raise ValueError("not images in classes")
    if "counts" not in about:
        if len(images) != len(about["classes"]):
            raise ValueError("one row of images for each")
        counts = np.full(len(images), images.shape[1], dtype=np.int64)
        return images.reshape(-1, *images.shape[2:]), counts
    counts = np.array(about["counts"], dtype=np.int64)
    if len(counts) != len(about["classes"]) or counts.sum() != len(images):
        raise ValueError(f"{len(counts)} counts, {counts.sum()} images")
    return images, counts
