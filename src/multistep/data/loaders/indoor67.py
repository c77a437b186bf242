"""MIT Indoor-67 ("Indoor"): a tar of 15,620 photographs of 67 kinds of room, and two lists.

Members are `Images/ROOM/NAME.jpg`. `TrainImages.txt` and `TestImages.txt` name 5,360 and 1,340 of
them (Quattoni & Torralba, CVPR 2009); the others are never used. Some names hold blanks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from multistep.data import listed, own_split
from multistep.data.listed import Lists, in_folder, lines, lists
from multistep.data.settings import Dataset
from multistep.settings import Model

ARCHIVE, FOLDER = "indoorCVPR_09.tar", "Images"
TRAIN, TEST = "TrainImages.txt", "TestImages.txt"


class Settings(Model):
    """The switches under `prepare:`; data/README.md says what each does."""

    size: Annotated[int, Field(ge=8)] | None  # of squares to resize to; null: their own sizes
    validation: Literal["own"]


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Decode the listed images of the archives in `raw` into `out`: images.npy and dataset.json."""
    settings = Settings.model_validate(dataset.prepare)
    train, test = (listed.extract(raw / file, file)[file] for file in (TRAIN, TEST))
    both = parse(train, test, str(raw))
    validation = own_split.committed(
        "indoor67",
        [image.member for image in both.train],
        lambda: listed.drawn(name, dataset, both, balanced=False),
    )
    listed.write(name, dataset, raw, out, both, validation, ARCHIVE, FOLDER, settings.size)


def parse(train: bytes, test: bytes, where: str) -> Lists:
    """The lists, from the bytes of the two files: one `ROOM/NAME` a line."""
    return lists(
        (in_folder(path, f"{where}/{TRAIN}") for path in lines(train, f"{where}/{TRAIN}")),
        (in_folder(path, f"{where}/{TEST}") for path in lines(test, f"{where}/{TEST}")),
        where,
    )
