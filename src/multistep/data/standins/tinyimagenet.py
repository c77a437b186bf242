"""A stand-in for TinyImageNet: drawn photographs in its tree of JPEGs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import Field

from multistep.data.standins import photographs
from multistep.data.standins.cifar100 import shuffled
from multistep.data.standins.packing import jpeg, pack
from multistep.progress import progress
from multistep.settings import Model

FOLDER = "tiny-imagenet-200"
SIDE = 64


class Settings(Model):
    """How much is drawn; `train` and `test` are images per class, and `test` fills `val/`."""

    classes: int = Field(ge=1, le=photographs.KINDS["tinyimagenet"])
    train: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = Field(ge=0)


def draw(out: Path, settings: Settings) -> None:
    """Write the archive `out` (zip). Its classes have made-up numbers, n9…."""
    total = settings.classes * (settings.train + settings.test)
    with progress(out.name, total, "images") as advance:
        pack(out, settings, _members(settings, advance))


def _members(settings: Settings, advance: Callable[[int], None]) -> Iterator[tuple[str, bytes]]:
    def one(label: int, number: int) -> bytes:
        advance(1)
        return jpeg(photographs.image("tinyimagenet", label, number, SIDE, settings.seed))

    wnids = [f"n9{i:07}" for i in range(settings.classes)]
    words = zip(wnids, photographs.names("tinyimagenet", settings.classes), strict=True)
    yield f"{FOLDER}/wnids.txt", "".join(f"{wnid}\n" for wnid in wnids).encode()
    yield f"{FOLDER}/words.txt", "".join(f"{wnid}\t{name}\n" for wnid, name in words).encode()
    for label, wnid in enumerate(wnids):
        for number in range(settings.train):
            path = f"{FOLDER}/train/{wnid}/images/{wnid}_{number}.JPEG"
            yield path, one(label, number)
    lines = ""
    drawn = shuffled(settings.classes, settings.test, settings.train, settings.seed)
    for row, (label, number) in enumerate(drawn):
        lines += f"val_{row}.JPEG\t{wnids[label]}\t0\t0\t{SIDE - 1}\t{SIDE - 1}\n"
        yield f"{FOLDER}/val/images/val_{row}.JPEG", one(label, number)
    yield f"{FOLDER}/val/val_annotations.txt", lines.encode()
