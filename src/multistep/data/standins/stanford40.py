"""A stand-in for Stanford-40: drawn photographs in one zip, and the lists in another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from multistep.data.loaders.stanford40 import IMAGES, SPLITS
from multistep.data.standins import galleries
from multistep.data.standins.galleries import Settings
from multistep.data.standins.packing import pack

__all__ = ["Settings", "draw"]


def draw(out: Path, settings: Settings) -> None:
    """Write the archive `out`, one of two. The same settings give the same bytes."""
    if out.name == IMAGES:
        names = _names(settings, 0, settings.train + settings.test)
        members = {f"JPEGImages/{name}": place for name, place in names.items()}
        pack(out, settings, galleries.jpegs("stanford40", settings, members))
    elif out.name == SPLITS:
        pack(out, settings, _lists(settings))
    else:
        raise galleries.unknown(out, IMAGES, SPLITS)


def _lists(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """The lists of all actions, and of each, with Windows line ends."""
    parts = {
        "train": _names(settings, 0, settings.train),
        "test": _names(settings, settings.train, settings.train + settings.test),
    }
    total = settings.train + settings.test
    rows = [f"{_action(i)}\t{total}" for i in range(settings.classes)]
    yield "ImageSplits/actions.txt", _text(["action_name\tnumber_of_images", *rows])
    for part, names in parts.items():
        yield f"ImageSplits/{part}.txt", _text(galleries.shuffled(names, settings.seed, part))
        for i in range(settings.classes):
            of_action = [name for name, (index, _) in names.items() if index == i]
            yield f"ImageSplits/{_action(i)}_{part}.txt", _text(of_action)


def _names(settings: Settings, first: int, end: int) -> dict[str, tuple[int, int]]:
    """File name -> (class, number) of the images numbered from `first` to before `end`."""
    return {
        f"{_action(i)}_{j + 1:03}.jpg": (i, j)
        for i in range(settings.classes)
        for j in range(first, end)
    }


def _action(i: int) -> str:
    return f"drawn_action_{i + 1:02}"


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()
