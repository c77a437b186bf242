"""Every loader's dataset as its stand-in: drawn, tampered with and prepared, for tests.

The stand-ins of image sets have 6 training and 2 test images of each of 4 classes.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multistep.data import prepared
from multistep.data.archives import members
from multistep.data.prepared import Prepared
from multistep.data.settings import Dataset
from multistep.data.standins.packing import pack
from multistep.files import UserError
from multistep.settings import Model

SMALL = {"classes": 4, "train": 6, "test": 2, "seed": 5}
SIZES = {"train": 16, "validation": 8, "test": 8}
GALLERY = {"classes": 4, "train": 6, "test": 2, "sides": [12, 20], "seed": 3}
IMAGENET = {"train": 3, "validation": 1, "test": 2, "side": 24, "seed": 5}
OWN = {"size": None, "validation": "own"}
FILTERED = {"resample": "lanczos", "split": "listed"}


def _entry(archives: dict[str, Any], prepare: dict[str, Any], **more: Any) -> dict[str, Any]:
    drawn = {name: {"drawn": settings} for name, settings in archives.items()}
    sizes = {"classes": 4, "images": SIZES} | more
    return {"archives": drawn, "prepare": prepare} | sizes


def _episodes(archives: dict[str, Any], prepare: dict[str, Any], **more: Any) -> dict[str, Any]:
    return _entry(archives, prepare, images=None) | more


CIFAR = "cifar-100-python.tar.gz"
# Entries of params.yaml by loader; the archive with the images comes first.
SETS: dict[str, dict[str, Any]] = {
    "omniglot": _episodes(
        {
            "images_background.zip": {"alphabets": 2, "characters": 4, "drawers": 3, "seed": 0},
            "images_evaluation.zip": {"alphabets": 1, "characters": 4, "drawers": 3, "seed": 1},
        },
        {"size": 28, "resample": "lanczos", "invert": True, "split": "proportional"},
        classes=12, images_per_class=3,
    ),
    "miniimagenet": _episodes(
        {"mini-imagenet.zip": IMAGENET | {"images": 5}}, FILTERED | {"size": 16},
        classes=6, images_per_class=5,
    ),
    "cifar_fs": _episodes(
        {CIFAR: {"classes": 10, "train": 4, "test": 2, "seed": 5}},
        {"size": 32, "split": "proportional"}, classes=10, images_per_class=6,
    ),
    "fc100": _episodes(
        {CIFAR: {"classes": 20, "train": 3, "test": 1, "seed": 5}},
        {"size": 32, "split": "proportional"}, classes=20, images_per_class=4,
    ),
    # Its stand-in's classes have 4, 7, 5, 8, 6 and 4 images.
    "tieredimagenet": _episodes(
        {"tiered-imagenet.tar": IMAGENET | {"images": [4, 8]}}, FILTERED | {"size": 24},
        classes=6, images_per_class=4, images={"train": 16, "validation": 8, "test": 10},
    ),
    "cifar100": _entry({CIFAR: SMALL}, {"size": 32, "validation": "own"}),
    "stl10": _entry(
        {"stl10_binary.tar.gz": SMALL | {"unlabeled": 3}}, {"size": 32, "validation": "own"}
    ),
    "tinyimagenet": _entry({"tiny-imagenet-200.zip": SMALL}, {"size": 32}),
    "cub200": _entry({"CUB_200_2011.tgz": GALLERY}, OWN),
    "indoor67": _entry(
        dict.fromkeys(["indoorCVPR_09.tar", "TrainImages.txt", "TestImages.txt"], GALLERY), OWN
    ),
    "stanford40": _entry(
        dict.fromkeys(["Stanford40_JPEGImages.zip", "Stanford40_ImageSplits.zip"], GALLERY), OWN
    ),
    "stanford_dogs": _entry(dict.fromkeys(["images.tar", "lists.tar"], GALLERY), OWN),
}  # fmt: skip
EPISODES = [loader for loader, entry in SETS.items() if "images_per_class" in entry]
GALLERIES = [loader for loader, entry in SETS.items() if entry["prepare"] is OWN]


def archive(loader: str) -> str:
    """The name of the archive with its images."""
    return next(iter(SETS[loader]["archives"]))


def described(loader: str, **changes: Any) -> Dataset:
    return Dataset.model_validate({"loader": loader, "title": "Drawn", **SETS[loader], **changes})


def draw(loader: str, folder: Path, name: str | None = None) -> Path:
    """Its stand-in's archives in `folder`, the first under another name if given."""
    module = importlib.import_module(f"multistep.data.standins.{loader}")
    for file, entry in SETS[loader]["archives"].items():
        target = name if name and file == archive(loader) else file
        module.draw(folder / target, module.Settings.model_validate(entry["drawn"]))
    return folder


def prepare(loader: str, raw: Path, out: Path, **changes: Any) -> Prepared:
    module = importlib.import_module(f"multistep.data.loaders.{loader}")
    module.prepare("drawn", described(loader, **changes), raw, out)
    return prepared.read(out)


def fault(loader: str, raw: Path, out: Path, **changes: Any) -> str:
    """The one line that a user gets to see; nothing half-made may stay behind."""
    with pytest.raises(UserError) as error:
        prepare(loader, raw, out, **changes)
    assert not out.exists() or not list(out.iterdir())
    assert "\n" not in str(error.value)
    return str(error.value)


def tampered(
    loader: str, drawn: Path, raw: Path, change: Callable[[dict[str, bytes]], object],
    name: str | None = None,
) -> Path:  # fmt: skip
    """The archives again in `raw`, after the {path: bytes} of one went through `change`."""
    shutil.copytree(drawn, raw, dirs_exist_ok=True)
    path = raw / (name or archive(loader))
    files = dict(members(path))
    change(files)
    path.unlink()
    if path.suffix == ".txt":
        path.write_bytes(files[path.name])
    else:
        pack(path, Model(), files.items())
    return raw


def classes_of(found: Prepared, part: str) -> list[int]:
    """The classes of a part's images."""
    return sorted(set(found.labels[found.splits[part]].tolist()))
