"""Prepared image sets: RGB bytes, a label for each image, and fixed parts; mapped into memory.

`images.npy` is uint8 `[N, H, W, 3]` where all images have one size, else one row of bytes: every
image's H·W·3 bytes, row by row, one image after another. `dataset.json` beside it has labels,
shapes and parts. `multistep.data.preparing` writes both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from multistep.files import UserError, read_json, sha256

PARTS = ("train", "validation", "test")
_AGAIN = "delete the folder and run `snakemake data`"


@dataclass(frozen=True)
class ImageSet:
    """`images` as in images.npy, `labels` int64 `[N]`, `shapes` int64 `[N, 2]` (heights, widths)
    unless all are equal, `splits` the indices int64 of each part.
    """

    name: str
    title: str
    images: np.ndarray
    labels: np.ndarray
    shapes: np.ndarray | None
    classes: list[str]
    splits: dict[str, np.ndarray]
    digest: str

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, i: int) -> np.ndarray:
        """Image `i` as uint8 `[h, w, 3]`, a view into the memory map."""
        if self.shapes is None:
            return self.images[i]
        height, width = self.shapes[i]
        return self.images[self._starts[i] : self._starts[i + 1]].reshape(height, width, 3)

    @cached_property
    def _starts(self) -> np.ndarray:
        assert self.shapes is not None
        return starts(self.shapes)


def load(folder: Path) -> ImageSet:
    """Open a prepared image set and verify its digest: damaged pixels never train silently."""
    about = read_json(folder / "dataset.json")
    try:
        images = np.load(folder / "images.npy", mmap_mode="c")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'images.npy'}: can't be read ({error}); {_AGAIN}") from None
    try:
        if about["kind"] != "images":
            raise ValueError(f"of kind {about['kind']}, not images")
        labels = np.array(about["labels"], dtype=np.int64)
        shapes = None if about["shapes"] is None else np.array(about["shapes"], dtype=np.int64)
        splits = {part: np.array(about["splits"][part], dtype=np.int64) for part in PARTS}
        found = ImageSet(
            about["name"], about["title"], images, labels, shapes, about["classes"], splits,
            about["digest"],
        )  # fmt: skip
        _fit(found)
    except KeyError as error:
        raise UserError(f"{folder / 'dataset.json'}: lacks {error}; {_AGAIN}") from None
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{folder}: images.npy {images.dtype}{list(images.shape)} doesn't fit dataset.json "
            f"({error}); {_AGAIN}"
        ) from None
    if sha256(folder / "images.npy") != found.digest:
        raise UserError(
            f"{folder / 'images.npy'}: its bytes differ from the digest in dataset.json; {_AGAIN}"
        )
    return found


def _fit(found: ImageSet) -> None:
    """Raise ValueError where the parts of a description contradict each other or the array."""
    n, images = len(found), found.images
    if images.dtype != np.uint8:
        raise ValueError("not bytes")
    if found.shapes is None:
        if images.ndim != 4 or images.shape[3] != 3 or len(images) != n:
            raise ValueError(f"{n} labels of RGB images of one size")
    elif found.shapes.shape != (n, 2) or (found.shapes < 1).any():
        raise ValueError(f"{len(found.shapes)} shapes and {n} labels")
    elif images.shape != (found._starts[-1],):
        raise ValueError(f"the shapes add up to {found._starts[-1]} bytes")
    if n and not 0 <= found.labels.min() <= found.labels.max() < len(found.classes):
        raise ValueError(f"labels outside of the {len(found.classes)} classes")
    every = np.concatenate([found.splits[part] for part in PARTS])
    if len(every) and not 0 <= every.min() <= every.max() < n:
        raise ValueError(f"a part has an index outside of the {n} images")
    if len(np.unique(every)) != len(every):
        raise ValueError("two parts share an image")


def starts(shapes: np.ndarray) -> np.ndarray:
    """Where each image's bytes begin, and where the last one's end: int64 `[N + 1]`."""
    return np.concatenate([[0], np.cumsum(3 * shapes[:, 0] * shapes[:, 1], dtype=np.int64)])
