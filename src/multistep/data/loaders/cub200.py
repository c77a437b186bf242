"""CUB-200-2011 ("Bird"): one compressed tar with 11,788 photographs of 200 species and their lists.

Members are `CUB_200_2011/images/NNN.Species/NAME.jpg`; `images.txt` numbers them and
`train_test_split.txt` says of each number whether it is for training (Wah et al., Caltech
CNS-TR-2011-001).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from multistep.data import listed
from multistep.data.listed import Lists, in_folder, lines, lists
from multistep.data.settings import Dataset
from multistep.files import UserError
from multistep.settings import Model

ARCHIVE, FOLDER = "CUB_200_2011.tgz", "CUB_200_2011"
PUBLISHED = "cub200-val"


class Settings(Model):
    """The switches under `prepare:`; data/README.md says what each does."""

    size: Annotated[int, Field(ge=8)] | None  # of squares to resize to; null: their own sizes
    validation: Literal["l2t_ww", "own"]


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Decode the listed images of the archives in `raw` into `out`: images.npy and dataset.json."""
    settings = Settings.model_validate(dataset.prepare)
    path = raw / ARCHIVE
    images, split = f"{FOLDER}/images.txt", f"{FOLDER}/train_test_split.txt"
    found = listed.extract(path, images, split)
    both = parse(found[images], found[split], str(path))
    if settings.validation == "l2t_ww":
        validation = listed.published(name, dataset, raw, both, PUBLISHED)
    else:
        validation = listed.drawn(name, dataset, both)
    folder = f"{FOLDER}/images"
    listed.write(name, dataset, raw, out, both, validation, ARCHIVE, folder, settings.size)


def parse(images: bytes, split: bytes, where: str) -> Lists:
    """The lists, from the bytes of images.txt (number, path) and train_test_split.txt (number, 0
    or 1 for training).

    Raises UserError if a line has another form, or if the two don't number the same images.
    """
    paths = _numbered(images, f"{where}: images.txt")
    parts = _numbered(split, f"{where}: train_test_split.txt")
    if differing := sorted(paths.keys() ^ parts.keys()):
        raise UserError(
            f"{where}: image {differing[0]} is not in both images.txt and train_test_split.txt; "
            "get the archive again"
        )
    if odd := [number for number, part in parts.items() if part not in ("0", "1")]:
        raise UserError(
            f"{where}: train_test_split.txt: image {odd[0]} is marked {parts[odd[0]]!r}, "
            "not 0 or 1; get the archive again"
        )
    named = {number: in_folder(path, f"{where}: images.txt") for number, path in paths.items()}
    return lists(
        (image for number, image in named.items() if parts[number] == "1"),
        (image for number, image in named.items() if parts[number] == "0"),
        where,
    )


def _numbered(data: bytes, where: str) -> dict[str, str]:
    """Image number -> the rest of its line."""
    rows = [line.split(maxsplit=1) for line in lines(data, where)]
    if bad := [row for row in rows if len(row) != 2 or not row[0].isdigit()]:
        raise UserError(
            f"{where}: line {' '.join(bad[0])!r} is not a number and a value; get the archive again"
        )
    return dict(rows)
