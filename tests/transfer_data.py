"""A small learnable image set, a small source network, and cells on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import records
import torch

from multistep.data import prepared
from multistep.networks.build import build
from multistep.transfer import algorithms, sources
from multistep.transfer.source_settings import SourceNetwork

SPEC: dict[str, Any] = {
    "title": "Random",
    "architecture": {"name": "resnet32", "width": 4, "blocks": 1},
    "classes": 6,
    "dataset": "patterns",
    "train": {
        "epochs": 2, "batch_size": 16, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0001,
        "lr_steps": [1], "augmentation": "pad_crop", "size": 32, "seed": 0,
    },
}  # fmt: skip


def prepared_images(folder: Path, classes: int = 4, each: int = 12, size: int = 32) -> Path:
    """`classes` noisy patterns: of each, 7/12 train, 2/12 validate and the rest test."""
    rng = np.random.default_rng(0)
    patterns = rng.random((classes, 1, size // 4, size // 4, 3)).repeat(4, 2).repeat(4, 3)
    noise = rng.random((classes, each, size, size, 3))
    images = (255 * (0.6 * patterns + 0.4 * noise)).astype(np.uint8).reshape(-1, size, size, 3)
    place = np.arange(classes * each) % each
    low, high = 7 * each // 12, 9 * each // 12
    parts = {"train": place < low, "validation": (place >= low) & (place < high)}
    parts["test"] = place >= high
    return prepared.save(
        folder,
        name="patterns",
        classes=[f"pattern{i}" for i in range(classes)],
        labels=np.arange(classes * each) // each,
        splits={part: np.flatnonzero(mask) for part, mask in parts.items()},
        shape=(size, size, 3),
        images=enumerate(images),
        made_from={"dataset": {"prepare": {"size": size}}},
    )


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
    "source": "random",
    "target": {"name": "vgg9", "width": 4},
    "source_taps": [0, 2],
    "target_taps": [0, 2, 4],
    "where_bias": 1.0,
    "size": 32,
    "augmentation": "pad_crop",
    "batch_size": 8,
    "epochs": 3,
    "optimizer": "sgd",
    "lr": 0.05,
    "momentum": 0.9,
    "adam_betas": [0.9, 0.999],
    "adam_eps": 1e-8,
    "weight_decay": 0.0001,
    "schedule_offset": 0,
    "beta": 0.5,
    "beta_in_inner_steps": True,
    "inner_steps": 2,
    "window": 1,
    "transfer_lr_factor": 1.0,
    "absent_gradients": "zero",
    "bn_updates": 2,
    "meta_lr": 0.001,
    "meta_weight_decay": 0.0001,
    "scheme": "keep",
    "source_features": "batch",
    "log_every": 2,
}


def small_transfer(algorithm: str = "bilevel", **settings: Any) -> dict[str, Any]:
    """The cell of a small run on `prepared_images`; keywords change its settings."""
    merged = {**SETTINGS, **settings}
    if merged["optimizer"] == "adam":
        merged.setdefault("lr", 0.001)
    fields = algorithms.get(algorithm).Settings.model_fields
    known = {key: value for key, value in merged.items() if key in fields}
    return {
        "scale": "test",
        "family": "transfer",
        "experiment": "small",
        "dataset": "patterns",
        "method": algorithm,
        "algorithm": algorithm,
        "seed": 0,
        "kind": "cell",
        "data": {"size": 32},
        "settings": algorithms.get(algorithm).Settings.model_validate(known).model_dump(),
    }
