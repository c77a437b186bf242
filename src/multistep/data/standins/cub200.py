"""A stand-in for CUB-200-2011: drawn photographs in its one tgz, lists included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from multistep.data.loaders.cub200 import ARCHIVE, FOLDER
from multistep.data.standins import galleries
from multistep.data.standins.galleries import Settings
from multistep.data.standins.packing import pack

__all__ = ["Settings", "draw"]


def draw(out: Path, settings: Settings) -> None:
    """Write the archive `out`. The same settings give the same bytes."""
    if out.name != ARCHIVE:
        raise galleries.unknown(out, ARCHIVE)
    pack(out, settings, _members(settings))


def _members(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Images first, as in the official archive, so that its lists are far from its start."""
    every = [(i, j) for i in range(settings.classes) for j in range(settings.train + settings.test)]
    names = {_name(i, j): (i, j) for i, j in every}
    folder = f"{FOLDER}/images"
    yield from galleries.jpegs("cub200", settings, {f"{folder}/{n}": at for n, at in names.items()})
    # Species after species, but in no order within one, as in the official list.
    listed = sorted(galleries.shuffled(names, settings.seed), key=lambda name: names[name][0])
    yield f"{FOLDER}/images.txt", _text(f"{n + 1} {name}" for n, name in enumerate(listed))
    trained = [int(names[name][1] < settings.train) for name in listed]
    yield f"{FOLDER}/train_test_split.txt", _text(f"{n + 1} {t}" for n, t in enumerate(trained))


def _name(i: int, j: int) -> str:
    return f"{i + 1:03}.Drawn_{i + 1:02}/Drawn_{i + 1:02}_{j + 1:04}_{(7919 * j + i) % 997}.jpg"


def _text(lines: Iterator[str]) -> bytes:
    return galleries.text(lines) + b"\n"
