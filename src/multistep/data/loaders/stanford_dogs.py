"""Stanford Dogs ("Dog"): a tar of 20,580 photographs of 120 breeds, and a tar of MATLAB lists.

Members are `Images/WNID-BREED/WNID_N.jpg` and, of the other tar, `train_list.mat` (100 a breed) and
`test_list.mat`, whose `file_list` names images below `Images/` (Khosla et al., FGVC 2011).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from multistep.data import listed
from multistep.data.listed import Lists, in_folder, lists
from multistep.data.settings import Dataset
from multistep.files import UserError
from multistep.settings import Model

IMAGES, LISTS = "images.tar", "lists.tar"
TRAIN, TEST = "train_list.mat", "test_list.mat"
PUBLISHED = "dog-val"


class Settings(Model):
    """The switches under `prepare:`; data/README.md says what each does."""

    size: Annotated[int, Field(ge=8)] | None  # of squares to resize to; null: their own sizes
    validation: Literal["l2t_ww", "own"]


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Decode the listed images of the archives in `raw` into `out`: images.npy and dataset.json."""
    settings = Settings.model_validate(dataset.prepare)
    found = listed.extract(raw / LISTS, TRAIN, TEST)
    both = parse(found[TRAIN], found[TEST], str(raw / LISTS))
    if settings.validation == "l2t_ww":
        validation = listed.published(name, dataset, raw, both, PUBLISHED)
    else:
        validation = listed.drawn(name, dataset, both)
    listed.write(name, dataset, raw, out, both, validation, IMAGES, "Images", settings.size)


def parse(train: bytes, test: bytes, where: str) -> Lists:
    """The lists, from the bytes of the two MATLAB files."""
    return lists(
        (in_folder(path, f"{where}: {TRAIN}") for path in file_list(train, f"{where}: {TRAIN}")),
        (in_folder(path, f"{where}: {TEST}") for path in file_list(test, f"{where}: {TEST}")),
        where,
    )


def file_list(data: bytes, where: str) -> list[str]:
    """The strings of the cell array `file_list` in a MATLAB 5 file."""
    from scipy.io import loadmat  # type: ignore[import-untyped]

    try:
        cells = loadmat(io.BytesIO(data), variable_names=["file_list"])["file_list"]
        return [str(cell.item()) for cell in cells.ravel()]
    except Exception as error:  # scipy raises all sorts on a file that is damaged or another
        raise UserError(
            f"{where}: no readable list of files ({type(error).__name__}: {error}); get the "
            "archive again"
        ) from error
