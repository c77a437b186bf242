"""Every loader's dataset as its stand-in, found by itself: drawn, tampered with and prepared.

The names of its archives and how it is prepared are those of the demo. A stand-in whose settings
have the usual names is drawn as `USUAL` says, and `SPECIAL` says it of the others.
"""

from __future__ import annotations

import importlib
import io
import os
import pickle
import pkgutil
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.io import savemat

from multistep.data import loaders, prepared, standins
from multistep.data.archives import members
from multistep.data.prepared import Prepared
from multistep.data.settings import Dataset
from multistep.data.standins.packing import pack
from multistep.files import UserError
from multistep.settings import Model

Change = Callable[[dict[str, bytes]], object]
ROOT = Path(__file__).resolve().parent.parent
# Settings of a stand-in, and how many images of the four classes train, validate and test then.
USUAL = {"classes": 4, "train": 6, "test": 2, "sides": [12, 20], "unlabeled": 3, "seed": 5}
SIZES = {"train": 16, "validation": 8, "test": 8}
_PARTS = {"train": 3, "validation": 1, "test": 2, "side": 24}
# Other settings; what params.yaml states then; what else is prepared otherwise than in the demo.
SPECIAL: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "omniglot": (
        {"alphabets": 1, "characters": 6, "drawers": 3}, {"classes": 12, "images_per_class": 3}, {},
    ),
    "miniimagenet": (
        _PARTS | {"images": 5}, {"classes": 6, "images_per_class": 5}, {"size": 16},
    ),
    "cifar_fs": ({"classes": 10, "train": 4}, {"classes": 10, "images_per_class": 6}, {}),
    "fc100": (
        {"classes": 20, "train": 3, "test": 1}, {"classes": 20, "images_per_class": 4}, {},
    ),
    # Its stand-in's classes have 4, 7, 5, 8, 6 and 4 images.
    "tieredimagenet": (
        _PARTS | {"images": [4, 8]},
        {"classes": 6, "images_per_class": 4, "images": {"train": 16, "validation": 8, "test": 10}},
        {"size": 24},
    ),
}  # fmt: skip


def _entries() -> dict[str, dict[str, Any]]:
    demo = yaml.safe_load((ROOT / "workflow/scales/demo.yaml").read_text(encoding="utf-8"))
    entries = {}
    for like in demo["datasets"].values():
        loader = like["loader"]
        usual = {"classes": USUAL["classes"], "images": SIZES}
        settings, stated, prepare = SPECIAL.get(loader, ({}, usual, {}))
        fields = standin(loader).Settings.model_fields
        unknown = set(fields) - set(USUAL | settings)
        assert not unknown, f"{loader}: say in SPECIAL how small it is drawn ({unknown})"
        drawn = {field: (USUAL | settings)[field] for field in fields}
        entries[loader] = {
            **stated,
            "archives": {name: {"drawn": drawn} for name in like["archives"]},
            "prepare": like["prepare"] | prepare,
        }
    return entries


def standin(loader: str) -> Any:
    return importlib.import_module(f"multistep.data.standins.{loader}")


# Entries of params.yaml by loader; the archive with the images comes first.
SETS = _entries()
EPISODES = [loader for loader, entry in SETS.items() if "images_per_class" in entry]
GALLERIES = [loader for loader, entry in SETS.items() if entry["prepare"]["size"] is None]
LOADERS = sorted({m.name for m in pkgutil.iter_modules(standins.__path__)} & set(loaders.names()))


def archive(loader: str) -> str:
    """The name of the archive with its images."""
    return next(iter(SETS[loader]["archives"]))


def described(loader: str, **changes: Any) -> Dataset:
    return Dataset.model_validate({"loader": loader, "title": "Drawn", **SETS[loader], **changes})


def draw(loader: str, folder: Path, name: str | None = None) -> Path:
    """Its stand-in's archives in `folder`, the first under another name if given."""
    module = standin(loader)
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


def packed(path: Path, files: dict[str, bytes]) -> Path:
    """An archive of these members, of the kind that its name says, with their folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    pack(path, Model(), files.items())
    return path


def matlab(names: list[str]) -> bytes:
    """A MATLAB 5 file with a `file_list`, as Stanford Dogs has it."""
    file = io.BytesIO()
    cells = np.array([names], dtype=object).T
    savemat(file, {"file_list": cells}, do_compression=True)
    return file.getvalue()


def tampered(loader: str, drawn: Path, raw: Path, change: Change, name: str | None = None) -> Path:
    """The archives again in `raw`, after the {path: bytes} of one went through `change`."""
    shutil.copytree(drawn, raw, dirs_exist_ok=True)
    path = raw / (name or archive(loader))
    files = dict(members(path))
    change(files)
    packed(path, files)
    return raw


# Changes of an archive's members, {path: bytes}.
def drop(path: str) -> Change:
    return lambda files: files.pop(path)


def put(path: str, data: bytes) -> Change:
    return lambda files: files.update({path: data})


def edited(path: str, change: Callable[[bytes], bytes]) -> Change:
    return lambda files: files.update({path: change(files[path])})


def cut(path: str, end: int) -> Change:
    return edited(path, lambda data: data[:end])


def repickled(path: str, **fields: object) -> Change:
    """Fields of a pickled dictionary, as Python 2 named them; None takes one away."""

    def change(data: bytes) -> bytes:
        found = pickle.loads(data) | {key.encode(): value for key, value in fields.items()}
        return pickle.dumps({k: v for k, v in found.items() if v is not None}, protocol=3)

    return edited(path, change)


def fault_after(
    change: Change, loader: str, drawn: dict[str, Path], folder: Path, name: str | None = None,
    **stated: Any,
) -> str:  # fmt: skip
    """The message about the archive `name` after a change of it."""
    raw = tampered(loader, drawn[loader], folder / "raw", change, name)
    return fault(loader, raw, folder / "out", **stated)


def classes_of(found: Prepared, part: str) -> list[int]:
    """The classes of a part's images."""
    return sorted(set(found.labels[found.splits[part]].tolist()))


def real_data(file: str) -> Path:
    """A file of the folder of real data $MULTISTEP_DATA, or a skip that says why."""
    folder = os.environ.get("MULTISTEP_DATA")
    if not folder:
        pytest.skip("needs real data: set MULTISTEP_DATA to their folder")
    if not Path(folder, file).exists():
        pytest.skip(f"no {file} in {folder} (MULTISTEP_DATA)")
    return Path(folder, file)
