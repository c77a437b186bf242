"""Stand-ins of the few-shot sets of photographs: drawn, tampered with and prepared for tests."""

import importlib
import os
from pathlib import Path

import pytest

from multistep.data import prepared
from multistep.data.archives import members
from multistep.data.settings import Dataset
from multistep.data.standins.packing import pack
from multistep.files import UserError
from multistep.settings import Model

ROOT = Path(__file__).resolve().parent.parent
# Entries of params.yaml; the sizes of tieredImageNet's stand-in are 4, 7, 5, 8, 6 and so on.
SETS = {
    "miniimagenet": {
        "classes": 6,
        "images_per_class": 5,
        "archives": {
            "mini-imagenet.zip": {
                "drawn": {
                    "train": 3, "validation": 1, "test": 2, "images": 5, "side": 24, "seed": 5,
                }
            }
        },
        "prepare": {"size": 16, "resample": "lanczos", "split": "listed"},
    },
    "cifar_fs": {
        "classes": 10,
        "images_per_class": 6,
        "archives": {
            "cifar-100-python.tar.gz": {
                "drawn": {"classes": 10, "train": 4, "test": 2, "seed": 5}
            }
        },
        "prepare": {"size": 32, "split": "proportional"},
    },
    "fc100": {
        "classes": 20,
        "images_per_class": 4,
        "archives": {
            "cifar-100-python.tar.gz": {
                "drawn": {"classes": 20, "train": 3, "test": 1, "seed": 5}
            }
        },
        "prepare": {"size": 32, "split": "proportional"},
    },
    "tieredimagenet": {
        "classes": 6,
        "images_per_class": 4,
        "images": {"train": 16, "validation": 8, "test": 10},
        "archives": {
            "tiered-imagenet.tar": {
                "drawn": {
                    "train": 3, "validation": 1, "test": 2, "images": [4, 8], "side": 24, "seed": 5,
                }
            }
        },
        "prepare": {"size": 24, "resample": "lanczos", "split": "listed"},
    },
}  # fmt: skip


def described(loader, **changes):
    entry = {"loader": loader, "title": "Drawn", **SETS[loader], **changes}
    return Dataset.model_validate(entry)


def archive(loader):
    """The name of its one archive."""
    return next(iter(SETS[loader]["archives"]))


def draw(loader, folder, name=None):
    """Its stand-in's archive in `folder`, under another name if given."""
    module = importlib.import_module(f"multistep.data.standins.{loader}")
    drawn = SETS[loader]["archives"][archive(loader)]["drawn"]
    module.draw(folder / (name or archive(loader)), module.Settings.model_validate(drawn))
    return folder


def prepare(loader, raw, out, **changes):
    module = importlib.import_module(f"multistep.data.loaders.{loader}")
    module.prepare("drawn", described(loader, **changes), raw, out)
    return prepared.load(out)


def fault(loader, raw, out, **changes):
    """The one line that a user gets to see; nothing half-made may stay behind."""
    with pytest.raises(UserError) as error:
        prepare(loader, raw, out, **changes)
    assert not out.exists() or not list(out.iterdir())
    assert "\n" not in str(error.value)
    return str(error.value)


def tampered(loader, drawn, raw, change, name=None):
    """The archive again in `raw`, after its {path: bytes} went through `change`."""
    files = dict(members(drawn / (name or archive(loader))))
    change(files)
    pack(raw / (name or archive(loader)), Model(), files.items())
    return raw


def real(*path):
    """A file of the real data, or a skip that says where it was looked for."""
    named = os.environ.get("MULTISTEP_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.joinpath(*path).exists():
        pytest.skip(f"no {'/'.join(path)} in {folder}; set MULTISTEP_DATA")
    return folder.joinpath(*path)
