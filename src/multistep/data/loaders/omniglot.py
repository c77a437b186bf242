"""Omniglot: two archives of 105×105 one-bit drawings, prepared once into one array of bytes.

Members are `<archive>/<Alphabet>/characterNN/MMMM_DD.png`, black ink on white paper, one drawing of
each character by each of 20 people (Lake et al., Science 350:1332, 2015). Rotations belong to the
episodes and happen in training. The stand-in of `multistep.data.standins.omniglot` has the same
layout and takes the same way.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field

from multistep.data import class_splits
from multistep.data.archives import contents_digest, members
from multistep.data.settings import Dataset
from multistep.files import UserError, atomic_write, digest, sha256, write_json
from multistep.progress import progress
from multistep.settings import Model

SIDE = 105
_MEMBER = re.compile(r"[^/]+/(?P<character>[^/]+/character\d+)/(?P<number>\d+_\d+)\.png")
_RESAMPLE = {
    "lanczos": Image.Resampling.LANCZOS,
    # What the code of reference [11] got: Pillow has no Lanczos for one-bit images and takes this.
    "nearest": Image.Resampling.NEAREST,
    "bicubic": Image.Resampling.BICUBIC,
}


class Settings(Model):
    """The switches under `prepare:`; data/README.md says what each does."""

    size: int = Field(ge=8)
    resample: Literal["lanczos", "nearest", "bicubic"]
    invert: bool
    split: Literal["finn", "vinyals", "sorted", "proportional"]


# Drawings by character and file name, each uint8 [size, size].
Drawings = dict[str, dict[str, np.ndarray]]


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Decode the archives in `raw` into `out`: images.npy and dataset.json.

    images.npy is uint8 `[classes, images per class, size, size]`, ink 255 if inverted; classes are
    sorted by name, drawings by file name. Raises UserError naming the archive or member at fault.
    """
    settings = Settings.model_validate(dataset.prepare)
    archives = [Path(raw) / archive for archive in dataset.archives]
    drawings, origin = _read(archives, settings, dataset.classes * (dataset.images_per_class or 0))
    _check(drawings, origin, name, dataset)
    contents = _verified_contents(name, dataset, archives)
    classes = sorted(drawings)
    in_order = sorted(classes, key=lambda c: (archives.index(origin[c]), c))
    parts = class_splits.split(settings.split, in_order, name)
    index = {character: i for i, character in enumerate(classes)}
    images = np.array([[drawings[c][number] for number in sorted(drawings[c])] for c in classes])

    out.mkdir(parents=True, exist_ok=True)
    # The description goes first and comes last: a pair with only one half new is never read.
    (out / "dataset.json").unlink(missing_ok=True)
    with atomic_write(out / "images.npy") as file:
        np.save(file, images)
    description = {
        "schema": 1,
        "name": name,
        "title": dataset.title,
        "stand_in": any(archive.drawn is not None for archive in dataset.archives.values()),
        "classes": classes,
        "splits": {part: sorted(index[c] for c in parts[part]) for part in class_splits.PARTS},
        "prepare": settings.model_dump(),
        "contents": contents,
        "digest": sha256(out / "images.npy"),
    }
    write_json(out / "dataset.json", description)


def _read(archives: list[Path], settings: Settings, total: int) -> tuple[Drawings, dict[str, Path]]:
    """All drawings, and the archive that each character came from."""
    drawings: Drawings = {}
    origin: dict[str, Path] = {}
    with progress("drawings", total, "drawings") as advance:
        for archive in archives:
            for member, data in members(archive):
                match = _MEMBER.fullmatch(member)
                if not match:
                    continue  # a readme or a file browser's leavings
                character = match["character"]
                if origin.setdefault(character, archive) != archive:
                    raise UserError(
                        f"{archive}: {character} stands in {origin[character].name} too; "
                        "is one archive a copy of the other?"
                    )
                image = _image(data, settings, f"{archive}: {member}")
                drawings.setdefault(character, {})[match["number"]] = image
                advance(1)
    return drawings, origin


def _image(data: bytes, settings: Settings, where: str) -> np.ndarray:
    """One drawing as uint8 `[size, size]`."""
    try:
        drawing = Image.open(io.BytesIO(data)).convert("L")
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on damaged PNGs
        raise UserError(
            f"{where} is not a readable PNG ({error}); get the archive again"
        ) from error
    if drawing.size != (SIDE, SIDE):
        raise UserError(f"{where} is {drawing.size[0]}×{drawing.size[1]}, not {SIDE}×{SIDE}")
    small = drawing.resize((settings.size, settings.size), _RESAMPLE[settings.resample])
    array = np.asarray(small, dtype=np.uint8)
    return 255 - array if settings.invert else array


def _check(drawings: Drawings, origin: dict[str, Path], name: str, dataset: Dataset) -> None:
    """The counts that params.yaml states."""
    expected = dataset.images_per_class
    for character in sorted(drawings):
        if len(drawings[character]) != expected:
            raise UserError(
                f"{origin[character]}: {character} has {len(drawings[character])} drawings, not "
                f"{expected}; get the archive again"
            )
    if len(drawings) != dataset.classes:
        counts = ", ".join(
            f"{archive}: {sum(path.name == archive for path in origin.values())}"
            for archive in dataset.archives
        )
        raise UserError(
            f"datasets.{name}: {len(drawings)} characters in the archives ({counts}), but "
            f"params.yaml states {dataset.classes}; get the archives again or correct it"
        )


def _verified_contents(name: str, dataset: Dataset, archives: list[Path]) -> str:
    """One digest of what the archives hold; each must fit params.yaml where that states it."""
    found = {archive.name: contents_digest(archive) for archive in archives}
    for archive, entry in dataset.archives.items():
        if entry.contents not in (None, found[archive]):
            raise UserError(
                f"{archives[0].parent / archive}: contents digest {found[archive]}, but "
                f"datasets.{name} expects {entry.contents}; delete the file and fetch it again"
            )
    return digest(found)
