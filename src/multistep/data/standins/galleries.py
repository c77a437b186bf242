"""What the stand-ins for Bird, Indoor, Action and Dog share: settings and JPEG files.

As in the real sets, images differ in size and shape, some are grey or CMYK, and archives and lists
are in no useful order.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from multistep.data.standins import photographs
from multistep.files import UserError
from multistep.progress import progress
from multistep.settings import Model

_QUALITY = 92
# The first images of the first class, in other colour spaces as a few of the real ones are.
_MODES = {(0, 0): "L", (0, 1): "CMYK"}


class Settings(Model):
    """Images of each class; `sides`: the least and the greatest height and width in pixels."""

    classes: int = Field(ge=2)
    train: int = Field(ge=2)  # validation included
    test: int = Field(ge=1)
    sides: list[int] = Field(min_length=2, max_length=2)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Settings:
        if not 8 <= self.sides[0] <= self.sides[1]:
            raise ValueError("sides: two numbers of pixels, at least 8, the least first")
        return self


def shuffled(names: Iterable[str], *key: int | str) -> list[str]:
    """The names in an order that depends on the key alone."""
    listed = list(names)
    return [listed[i] for i in _generator(*key).permutation(len(listed))]


def jpegs(
    kind: str, settings: Settings, names: dict[str, tuple[int, int]]
) -> Iterator[tuple[str, bytes]]:
    """(path, JPEG file) of each of `names` (path -> class, number), in an order of their own."""
    if settings.classes > photographs.KINDS[kind]:
        raise UserError(
            f"drawn: {settings.classes} classes of {kind} can't be drawn, only "
            f"{photographs.KINDS[kind]}; ask for fewer"
        )
    with progress(f"drawn {kind}", len(names), "images") as advance:
        for name in shuffled(names, settings.seed, kind):
            yield name, _jpeg(kind, settings, *names[name])
            advance(1)


def _jpeg(kind: str, settings: Settings, index: int, number: int) -> bytes:
    low, high = settings.sides
    g = _generator(settings.seed, kind, index, number)
    height, width = (int(side) for side in g.integers(low, high + 1, 2))
    pixels = photographs.image(kind, index, number, (height, width), settings.seed)
    file = io.BytesIO()
    image = Image.fromarray(pixels).convert(_MODES.get((index, number), "RGB"))
    image.save(file, "jpeg", quality=_QUALITY)
    return file.getvalue()


def text(lines: Iterable[str]) -> bytes:
    """A list with no newline at its end, as the lists of Indoor-67."""
    return "\n".join(lines).encode()


def unknown(out: Path, *known: str) -> UserError:
    """For an archive that the official set doesn't have."""
    return UserError(f"{out}: no stand-in is known by this name; known: {', '.join(known)}")


def _generator(*key: int | str) -> np.random.Generator:
    return np.random.default_rng([k if isinstance(k, int) else zlib.crc32(k.encode()) for k in key])
