"""Small made-up image sets, a small source network, and cells on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import records
import torch

from multistep import cli
from multistep.data import prepared
from multistep.data.prepared import Prepared
from multistep.job import results
from multistep.networks.build import build
from multistep.transfer import algorithms, sources
from multistep.transfer.source_settings import Pretrain, SourceNetwork

CLASSES = 4


def settings(**changes: Any) -> Pretrain:
    """Settings of a training of seconds."""
    values: dict[str, Any] = {
        "epochs": 4, "batch_size": 16, "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4,
        "lr_steps": [2], "augmentation": "pad_crop", "size": 16, "seed": 0,
    }  # fmt: skip
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
    size = images.size if images.shapes is None else None
    return prepared.save(
        folder, name=images.name, classes=images.classes, labels=images.labels,
        splits=images.splits,
        shape=images.images.shape[1:] if images.shapes is None else images.shapes,
        images=((i, images.pixels(i)) for i in range(len(images))),
        made_from={"dataset": {"prepare": {"size": size}}},
    )  # fmt: skip


def _set(pixels: np.ndarray, labels: np.ndarray, shapes: np.ndarray | None, test: int) -> Prepared:
    numbers = np.arange(len(labels))
    train, rest = numbers[: len(labels) - 2 * test], numbers[len(labels) - 2 * test :]
    splits = {"train": train, "validation": rest[:test], "test": rest[test:]}
    classes = [f"class{i}" for i in range(CLASSES)]
    return Prepared("patterns", pixels, labels, shapes, classes, splits, "digest")


PLACE = {"scale": "test", "family": "transfer", "experiment": "small", "dataset": "patterns"}
SPEC: dict[str, Any] = {
    "title": "Random",
    "architecture": {"name": "resnet32", "width": 4, "blocks": 1},
    "classes": 6,
    "dataset": "patterns",
    "train": settings(epochs=2, lr=0.1, lr_steps=[1], size=32).model_dump(),
}


def prepared_images(folder: Path) -> Path:
    """A prepared set of 48 small images: 28 train, 10 validate and 10 test."""
    return written(folder, equal_size(48, size=32, test=10))


def source_folder(folder: Path) -> Path:
    """A source network with random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = SourceNetwork.model_validate(SPEC)
    network = build(spec.architecture, spec.classes, torch.Generator().manual_seed(1))
    made_from = {**records.MADE_FROM, "dataset": None, "network": "f" * 64}
    metrics: dict[str, Any] = {"published": {}}
    state = network.state_dict()
    made = {"metrics": metrics, "history": [], "environment": records.ENVIRONMENT}
    sources.save(folder, "random", spec, state, made, made_from)
    return folder


SETTINGS: dict[str, Any] = {
    "source": "random", "target": {"name": "vgg9", "width": 4}, "source_taps": [0, 2],
    "target_taps": [0, 2, 4], "where_bias": 1.0, "size": 32, "augmentation": "pad_crop",
    "batch_size": 8, "epochs": 3, "optimizer": "sgd", "lr": 0.05, "momentum": 0.9,
    "adam_betas": [0.9, 0.999], "adam_eps": 1e-08, "weight_decay": 0.0001, "schedule_offset": 0,
    "beta": 0.5, "beta_in_inner_steps": True, "inner_steps": 2, "window": 1,
    "transfer_lr_factor": 1.0, "absent_gradients": "zero", "bn_updates": 2, "meta_lr": 0.001,
    "meta_weight_decay": 0.0001, "scheme": "keep", "source_features": "batch", "log_every": 2,
}  # fmt: skip


def small_transfer(algorithm: str = "bilevel", **settings: Any) -> dict[str, Any]:
    """The cell of a small run on `prepared_images`; keywords change its settings."""
    merged = {**SETTINGS, **settings}
    if merged["optimizer"] == "adam":
        merged.setdefault("lr", 0.001)
    fields = algorithms.get(algorithm).Settings.model_fields
    known = {key: value for key, value in merged.items() if key in fields}
    return PLACE | {
        "method": algorithm, "algorithm": algorithm, "seed": 0, "kind": "cell",
        "data": {"size": 32},
        "settings": algorithms.get(algorithm).Settings.model_validate(known).model_dump(),
    }  # fmt: skip


def measured(folder: Path, cells: dict[str, dict[str, Any]], batches: int) -> dict[str, Any]:
    """The measurement of these methods' cells, in an empty folder."""
    measure = {"steps": [1], "rounds": 1, "tasks": None, "batches": batches, "alone": True}
    methods = {
        name: {"algorithm": cell["algorithm"], "settings": cell["settings"]}
        for name, cell in cells.items()
    }
    data = next(iter(cells.values()))["data"]
    definition = PLACE | {"data": data, "methods": methods, "measure": measure}
    line = ["measure", "--definition", json.dumps(definition), "--out", str(folder / "out.json")]
    line += ["--data", str(prepared_images(folder / "data")), "--device", "cpu"]
    assert cli.main([*line, "--network", str(source_folder(folder / "network"))]) == 0
    return results.read(folder / "out.json")
