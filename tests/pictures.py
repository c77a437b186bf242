"""Small made-up image sets for the tests of meta-transfer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from multistep.data import prepared
from multistep.data.prepared import Prepared
from multistep.transfer.source_settings import Pretrain

CLASSES = 4

torch.set_num_threads(1)  # small batches gain nothing from more, and busy machines lose a lot


def settings(**changes: Any) -> Pretrain:
    """Settings of a training of seconds."""
    values: dict[str, Any] = {
        "epochs": 4,
        "batch_size": 16,
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "lr_steps": [2],
        "augmentation": "pad_crop",
        "size": 16,
        "seed": 0,
    }
    return Pretrain.model_validate({**values, **changes})


def equal_size(count: int, size: int = 16, test: int = 0) -> Prepared:
    """Learnable images: noisy copies of one pattern and colour per class, in the order of parts:
    training, then `test` images each for validation and test.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(count) % CLASSES
    patterns = rng.random((CLASSES, 4, 4, 3)).repeat(size // 4, 1).repeat(size // 4, 2)
    colours = 1 - 0.8 * np.eye(CLASSES, 3)[:, None, None]
    noise = rng.random((count, size, size, 3))
    pixels = (255 * (0.6 * (colours * patterns)[labels] + 0.4 * noise)).astype(np.uint8)
    return _set(pixels, labels, None, test)


def ragged(count: int, test: int = 0) -> Prepared:
    """Smooth pictures of different sizes, around 60 × 50."""
    rng = np.random.default_rng(0)
    shapes = np.stack([rng.integers(30, 70, count), rng.integers(30, 90, count)], 1)
    pictures = [picture(int(h), int(w), i) for i, (h, w) in enumerate(shapes)]
    pixels = np.concatenate([p.reshape(-1) for p in pictures])
    return _set(pixels, np.arange(count) % CLASSES, shapes, test)


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """uint8 `[height, width, 3]` with slopes, edges and noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = np.sin(rows[..., None] / rng.uniform(2, 9, 3)) + (columns[..., None] % 11 > 5)
    noisy = 80 * waves + 60 + 30 * rng.random((height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def written(folder: Path, images: Prepared) -> Path:
    """The set as a prepared folder."""
    return prepared.save(
        folder,
        name=images.name,
        classes=images.classes,
        labels=images.labels,
        splits=images.splits,
        shape=images.images.shape[1:] if images.shapes is None else images.shapes,
        images=((i, images.pixels(i)) for i in range(len(images))),
    )


def _set(pixels: np.ndarray, labels: np.ndarray, shapes: np.ndarray | None, test: int) -> Prepared:
    numbers = np.arange(len(labels))
    train, rest = numbers[: len(labels) - 2 * test], numbers[len(labels) - 2 * test :]
    splits = {"train": train, "validation": rest[:test], "test": rest[test:]}
    classes = [f"class{i}" for i in range(CLASSES)]
    return Prepared("pictures", pixels, labels, shapes, classes, splits, "digest")
