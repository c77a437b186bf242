"""Stand-ins of the sets of small images: drawn, tampered with, and prepared, for their tests."""

import importlib

import pytest

from multistep.data import image_sets
from multistep.data.archives import members
from multistep.data.settings import Dataset
from multistep.data.standins.packing import pack
from multistep.files import UserError
from multistep.settings import Model

ARCHIVES = {
    "cifar100": "cifar-100-python.tar.gz",
    "stl10": "stl10_binary.tar.gz",
    "tinyimagenet": "tiny-imagenet-200.zip",
}
DRAWN = {"classes": 4, "train": 6, "test": 2, "seed": 5}
SIZES = {"train": 16, "validation": 8, "test": 8}


def settings(loader):
    return DRAWN | ({"unlabeled": 3} if loader == "stl10" else {})


def draw_all(root):
    """A folder for each loader with its drawn archive, in `root`."""
    for loader, archive in ARCHIVES.items():
        module = importlib.import_module(f"multistep.data.standins.{loader}")
        module.draw(root / loader / archive, module.Settings(**settings(loader)))
    return root


def described(loader, **changes):
    entry = {
        "loader": loader,
        "title": "Drawn",
        "classes": 4,
        "images": SIZES,
        "archives": {ARCHIVES[loader]: {"drawn": {}}},
        "prepare": {"size": 32} | ({} if loader == "tinyimagenet" else {"validation": "own"}),
    }
    return Dataset.model_validate(entry | changes)


def prepare(loader, raw, out, **changes):
    module = importlib.import_module(f"multistep.data.loaders.{loader}")
    module.prepare("drawn", described(loader, **changes), raw, out)
    return image_sets.load(out)


def fault(loader, raw, out, **changes):
    """The one line that a user gets to see; nothing half-made may stay behind."""
    with pytest.raises(UserError) as error:
        prepare(loader, raw, out, **changes)
    assert not list(out.iterdir())
    assert "\n" not in str(error.value)
    return str(error.value)


def tampered(drawn, loader, raw, change):
    """The archive again in `raw`, after its {path: bytes} went through `change`."""
    archive = ARCHIVES[loader]
    files = dict(members(drawn / loader / archive))
    change(files)
    pack(raw / archive, Model(), files.items())
    return raw
