"""Prepared few-shot datasets: one uint8 array and its description, memory-mapped by training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multistep.files import UserError, read_json, sha256


@dataclass(frozen=True)
class Prepared:
    """`images`: uint8 `[classes, images per class, size, size]`; `splits`: class indices."""

    name: str
    title: str
    images: np.ndarray
    classes: list[str]
    splits: dict[str, list[int]]
    digest: str


def load(folder: Path) -> Prepared:
    """Open a prepared dataset and verify its digest: a damaged array never trains silently."""
    about = read_json(folder / "dataset.json")
    try:
        images = np.load(folder / "images.npy", mmap_mode="c")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder / 'images.npy'}: can't be read ({error}); delete the folder and run "
            "`snakemake data`"
        ) from None
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(about["classes"]):
        raise UserError(
            f"{folder}: images.npy {images.dtype}{list(images.shape)} doesn't fit the "
            f"{len(about['classes'])} classes of dataset.json; delete the folder and run "
            "`snakemake data`"
        )
    if sha256(folder / "images.npy") != about["digest"]:
        raise UserError(
            f"{folder / 'images.npy'}: its bytes differ from the digest in dataset.json; delete "
            "the folder and run `snakemake data`"
        )
    return Prepared(
        about["name"], about["title"], images, about["classes"], about["splits"], about["digest"]
    )
