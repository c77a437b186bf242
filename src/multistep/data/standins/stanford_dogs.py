"""A stand-in for Stanford Dogs: drawn photographs in one tar, MATLAB lists in another."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from multistep.data.loaders.stanford_dogs import IMAGES, LISTS, TEST, TRAIN
from multistep.data.standins import galleries
from multistep.data.standins.galleries import Settings
from multistep.data.standins.packing import pack

__all__ = ["Settings", "draw"]

_TEXT = 116  # bytes at the start of a MATLAB 5 file that say who wrote it, and when


def draw(out: Path, settings: Settings) -> None:
    """Write the archive `out`, one of two. The same settings give the same bytes."""
    if out.name == IMAGES:
        names = _names(settings, 0, settings.train + settings.test)
        members = {f"Images/{name}": place for name, place in names.items()}
        pack(out, settings, galleries.jpegs("stanford_dogs", settings, members))
    elif out.name == LISTS:
        pack(out, settings, _lists(settings))
    else:
        raise galleries.unknown(out, IMAGES, LISTS)


def _lists(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Breed after breed, but in no order within one, as the official lists."""
    parts = {
        TRAIN: _names(settings, 0, settings.train),
        TEST: _names(settings, settings.train, settings.train + settings.test),
    }
    for member, names in parts.items():
        listed = galleries.shuffled(names, settings.seed, member)
        listed.sort(key=lambda name: names[name][0])
        yield member, _matlab(listed, [names[name][0] + 1 for name in listed])


def _matlab(files: list[str], labels: list[int]) -> bytes:
    """A MATLAB 5 file with the cell array `file_list` and the column `labels`, without its date."""
    from scipy.io import savemat  # type: ignore[import-untyped]

    cells = np.empty((len(files), 1), dtype=object)
    cells[:, 0] = files
    file = io.BytesIO()
    column = np.array(labels, dtype=np.float64)[:, None]
    savemat(file, {"file_list": cells, "labels": column}, do_compression=True)
    data = file.getvalue()
    return b"MATLAB 5.0 MAT-file, drawn by multistep".ljust(_TEXT) + data[_TEXT:]


def _names(settings: Settings, first: int, end: int) -> dict[str, tuple[int, int]]:
    """BREED/NAME -> (class, number) of the images numbered from `first` to before `end`."""
    return {
        f"n{99000000 + i}-Drawn_{i + 1:02}/n{99000000 + i}_{j + 1}.jpg": (i, j)
        for i in range(settings.classes)
        for j in range(first, end)
    }
