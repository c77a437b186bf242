"""Omniglot: two archives of 105×105 one-bit drawings, prepared once into one array of bytes.

Members are `<archive>/<Alphabet>/characterNN/MMMM_DD.png`, black ink on white paper, one drawing of
each character by each of 20 people (Lake et al., Science 350:1332, 2015). Rotations belong to the
episodes and happen in training. The stand-in of `multistep.data.standins.omniglot` has the same
layout and takes the same way.
"""

import re
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from multistep.data import class_splits, decoding, prepared
from multistep.data.archives import gathered, names
from multistep.data.settings import Dataset, Side
from multistep.files import UserError
from multistep.settings import Model

LAYOUT = r"[^/]+/[^/]+/character\d+/\d+_\d+\.png"

SIDE = 105
_MEMBER = re.compile(r"[^/]+/(?P<key>(?P<character>[^/]+/character\d+)/\d+_\d+\.png)")


class Settings(Model):
    """`size`: pixels of a side; `resample`: the filter (`nearest` is what the code of [11] got:
    Pillow has no Lanczos for one-bit images and takes this); `split`: which characters train.
    """

    size: Side
    resample: Literal["lanczos", "nearest", "bicubic"]
    invert: bool
    split: Literal["finn", "vinyals", "sorted", "proportional"]


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`, grey, ink 255 if inverted: characters sorted by name, drawings
    by file name. Raises UserError naming the archive or member at fault.
    """
    s = Settings.model_validate(dataset.prepare)
    origin: dict[str, str] = {}  # the archive of each character, in the order of the archives
    character_of: dict[str, str] = {}
    for archive in dataset.archives:
        for match in filter(None, map(_MEMBER.fullmatch, names(raw / archive))):
            character = character_of[match["key"]] = match["character"]
            if origin.setdefault(character, archive) != archive:
                raise UserError(
                    f"{raw / archive}: {character} stands in {origin[character]} too; is one "
                    "archive a copy of the other?"
                )
    in_order = sorted(origin, key=lambda c: ([*dataset.archives].index(origin[c]), c))
    parts = class_splits.split(s.split, in_order, name)
    described = class_splits.class_by_class(parts, character_of, f"datasets.{name}")
    drawings = gathered([raw / archive for archive in dataset.archives], _MEMBER.fullmatch)
    prepared.write(
        name, dataset, raw, out, **described, shape=(s.size, s.size),
        images=((path.partition("/")[2], _image(data, s, where)) for path, data, where in drawings),
    )  # fmt: skip


def _image(data: bytes, s: Settings, where: str) -> np.ndarray:
    """One drawing as uint8 `[size, size]`."""
    with decoding.opened(data, where, ("PNG",)) as image:
        drawing = image.convert("L")
    if drawing.size != (SIDE, SIDE):
        raise UserError(f"{where} is {drawing.size[0]}×{drawing.size[1]}, not {SIDE}×{SIDE}")
    small = drawing.resize((s.size, s.size), Image.Resampling[s.resample.upper()])
    array = np.asarray(small, dtype=np.uint8)
    return 255 - array if s.invert else array
