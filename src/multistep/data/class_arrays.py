"""Writing prepared few-shot datasets of photographs: one RGB array, class after class.

Classes are sorted by name and images within a class by their key (a file's name, or a number), so
that a repacked archive prepares to the same bytes. Each image is written to its place as it comes:
only one is held in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Literal

import numpy as np
from PIL import Image

from multistep.data.archives import verified_contents
from multistep.data.class_splits import PARTS, Split, list_file, read_list
from multistep.data.settings import Dataset
from multistep.files import UserError, atomic_write, sha256, write_json
from multistep.progress import progress

Resample = Literal["lanczos", "bilinear"]
_RESAMPLE = {"lanczos": Image.Resampling.LANCZOS, "bilinear": Image.Resampling.BILINEAR}

# What distributions call the parts, in the order of PARTS.
FILES = {"train": "train", "val": "validation", "test": "test"}


def write(
    name: str,
    dataset: Dataset,
    raw: Path,
    out: Path,
    *,
    parts: Split,
    keys: Mapping[str, Sequence[str]],
    images: Iterable[tuple[str, np.ndarray]],
    size: int,
) -> None:
    """Write images.npy, uint8 `[N, size, size, 3]`, and dataset.json into `out`.

    `parts`: class names of train, validation and test; `keys`: by class, of its images; `images`:
    (key, uint8 `[size, size, 3]`) in any order, keys of no class are left out. Raises UserError
    where counts differ from what params.yaml states, or an image is missing or comes twice.
    """
    classes = sorted(chain(*parts.values()))
    counts = [len(keys[label]) for label in classes]
    number = {label: i for i, label in enumerate(classes)}
    _check(name, dataset, parts, keys)
    contents = verified_contents(name, dataset, raw)
    place = {key: i for i, key in enumerate(chain(*(sorted(keys[label]) for label in classes)))}
    out.mkdir(parents=True, exist_ok=True)
    # The description goes first and comes last: a pair with only one half new is never read.
    (out / "dataset.json").unlink(missing_ok=True)
    with atomic_write(out / "images.npy") as file:
        _fill(file, place, images, size, name, raw)
    write_json(
        out / "dataset.json",
        {
            "schema": 1,
            "kind": "classes",
            "name": name,
            "title": dataset.title,
            "stand_in": any(archive.drawn is not None for archive in dataset.archives.values()),
            "classes": classes,
            "counts": counts,
            "splits": {p: sorted(number[c] for c in parts[p]) for p in PARTS},
            "prepare": dataset.prepare,
            "contents": contents,
            "digest": sha256(out / "images.npy"),
        },
    )


def resized(pixels: np.ndarray, size: int, resample: Resample) -> np.ndarray:
    """uint8 `[h, w, 3]` squeezed to a square, by one of Pillow's antialiased filters."""
    if pixels.shape[:2] == (size, size):
        return pixels
    small = Image.fromarray(pixels).resize((size, size), _RESAMPLE[resample])
    return np.array(small, dtype=np.uint8)


def committed(loader: str, rule: str) -> Split:
    """The committed list of classes `splits/<loader>_<rule>.json`."""
    return read_list(list_file(loader, rule))


def require(rule: str, loader: str, parts: Split, name: str, where: str) -> None:
    """Raise UserError unless the archive's parts are those of the committed list."""
    for part, expected in committed(loader, rule).items():
        if different := sorted(set(expected) ^ set(parts[part])):
            has = "lacks" if different[0] in expected else "has"
            raise UserError(
                f"{where}: {has} {different[0]} among its {part} classes ({len(different)} "
                f"differ), unlike the published list; get the published one, or set "
                f"datasets.{name}.prepare.split to listed for other data"
            )


def listed_once(parts: Mapping[str, Mapping[str, str]], where: str) -> dict[str, list[str]]:
    """Keys by class, from the class of each key by part; no key and no class in two parts."""
    keys: dict[str, list[str]] = {}
    part_of: dict[str, str] = {}
    for part, labels in parts.items():
        for key, label in labels.items():
            if part_of.setdefault(label, part) != part:
                raise UserError(
                    f"{where}: class {label} stands in {part_of[label]} and in {part}; mend the "
                    "lists"
                )
            keys.setdefault(label, []).append(key)
    return keys


def _check(name: str, dataset: Dataset, parts: Split, keys: Mapping[str, Sequence[str]]) -> None:
    """The counts that params.yaml states: of all classes, or of parts and of the least class."""
    where = f"datasets.{name}"
    every = list(chain(*parts.values()))
    if twice := [label for label, count in Counter(every).items() if count > 1]:
        raise UserError(f"{where}: class {twice[0]} stands in two parts; mend the list")
    if len(every) != dataset.classes:
        raise UserError(
            f"{where}: {len(every)} classes in the archives, but params.yaml states "
            f"{dataset.classes}; get the archives again or correct it"
        )
    if empty := [part for part in PARTS if not parts[part]]:
        raise UserError(f"{where}: no {empty[0]} classes in the archives; get them again")
    least = dataset.images_per_class or 1
    for label in sorted(every):
        count = len(keys[label])
        if count < least or (dataset.images is None and count > least):
            bound = "" if dataset.images is None else " or more"
            raise UserError(
                f"{where}: class {label} has {count} images, not {least}{bound} as params.yaml "
                "states (images_per_class); get the archives again or correct it"
            )
    for part, count in (dataset.images or {}).items():
        found = sum(len(keys[label]) for label in parts[part])
        if found != count:
            raise UserError(
                f"{where}: {found} {part} images in the archives, but params.yaml states {count}; "
                "get the archives again or correct it"
            )


def _fill(
    file: IO[bytes],
    place: Mapping[str, int],
    images: Iterable[tuple[str, np.ndarray]],
    size: int,
    name: str,
    raw: Path,
) -> None:
    """The header of a .npy file, and every image to its place behind it."""
    shape = (len(place), size, size, 3)
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    start, length = file.tell(), 3 * size * size
    filled = np.zeros(len(place), dtype=bool)
    with progress(name, len(place), "images") as advance:
        for key, pixels in images:
            row = place.get(key)
            if row is None:
                continue
            if filled[row]:
                raise UserError(f"{raw}: two images are called {key}; get the archive again")
            assert pixels.shape == shape[1:], pixels.shape
            file.seek(start + row * length)
            file.write(np.ascontiguousarray(pixels).data)
            filled[row] = True
            advance(1)
    if not filled.all():
        missing = [key for key, row in place.items() if not filled[row]]
        raise UserError(
            f"{raw}: no image {missing[0]}, which the lists name ({len(missing)} are missing); "
            "get the archive again"
        )
