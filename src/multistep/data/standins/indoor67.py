"""A stand-in for MIT Indoor-67: drawn photographs in a tar, and its two lists as plain files.

As in the real set, two names hold blanks, and the tar has images that no list names.
"""

from __future__ import annotations

from pathlib import Path

from multistep.data.loaders.indoor67 import ARCHIVE, FOLDER, TEST, TRAIN
from multistep.data.standins import galleries
from multistep.data.standins.galleries import Settings
from multistep.data.standins.packing import pack
from multistep.files import UserError, atomic_write

__all__ = ["Settings", "draw"]

_UNLISTED = 2  # images of each class
_PREFIX = "drawn_room_"


def draw(out: Path, settings: Settings) -> None:
    """Write the archive `out`, one of three. The same settings give the same bytes."""
    if out.name == ARCHIVE:
        names = _names(settings, 0, settings.train + settings.test + _UNLISTED)
        members = {f"{FOLDER}/{name}": place for name, place in names.items()}
        pack(out, settings, galleries.jpegs("indoor67", settings, members))
        return
    if out.name == TRAIN:
        names = _names(settings, 0, settings.train)
    elif out.name == TEST:
        names = _names(settings, settings.train, settings.train + settings.test)
    else:
        raise galleries.unknown(out, ARCHIVE, TRAIN, TEST)
    # A plain list can't say that it was drawn, but its rooms do.
    if out.exists() and not (out.is_file() and out.read_bytes().startswith(_PREFIX.encode())):
        raise UserError(f"{out}: in the way, and not a drawn list; move it away and run again")
    with atomic_write(out) as file:
        file.write(galleries.text(galleries.shuffled(names, settings.seed, out.name)))


def _names(settings: Settings, first: int, end: int) -> dict[str, tuple[int, int]]:
    """ROOM/NAME -> (class, number) of the images numbered from `first` to before `end`."""
    blanks = {(0, 0), (1, settings.train)}  # one to train on and one to test on
    return {
        f"{_PREFIX}{i + 1:02}/{'drawn room' if (i, j) in blanks else 'drawn'}_{j + 1:03}.jpg": (
            i,
            j,
        )
        for i in range(settings.classes)
        for j in range(first, end)
    }
