"""Image sets whose publishers name the training and the test images one by one, in lists.

Lists are sorted by class and then by name, as L2T-ww (Jang et al. 2019) walks its folders
`train/CLASS/`, so that its published lists of indices fit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from multistep.data import own_split
from multistep.data.archives import members
from multistep.data.preparing import Writer, check, decode
from multistep.data.settings import Dataset
from multistep.files import UserError

_AGAIN = "get the archive again"


class Listed(NamedTuple):
    """One image: its class, and its path below the archive's folder of images."""

    label: str
    member: str


@dataclass(frozen=True)
class Lists:
    """What is trained on (validation included) and tested on, each sorted by class and name."""

    train: list[Listed]
    test: list[Listed]

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes, sorted: labels are positions in this list."""
        return sorted({image.label for image in [*self.train, *self.test]})


def lists(train: Iterable[Listed], test: Iterable[Listed], where: str) -> Lists:
    """Sort both lists; `where` says in messages which lists they are.

    Raises UserError if an image is listed twice, or if a class lacks training or test images.
    """
    both = Lists(sorted(train), sorted(test))
    times = Counter(image.member for image in [*both.train, *both.test])
    if twice := [member for member, n in times.items() if n > 1]:
        raise UserError(
            f"{where}: {len(twice)} images are listed twice, such as {twice[0]}; {_AGAIN}"
        )
    trained, tested = ({image.label for image in part} for part in (both.train, both.test))
    if lopsided := sorted(trained ^ tested):
        lacks = "test" if lopsided[0] in trained else "training"
        raise UserError(f"{where}: class {lopsided[0]} has no {lacks} image; {_AGAIN}")
    return both


def lines(data: bytes, where: str) -> list[str]:
    """The lines of a list that aren't empty. Names may hold blanks; lines may end as on Windows."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not a text file ({error}); {_AGAIN}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def in_folder(path: str, where: str) -> Listed:
    """An image listed as `CLASS/NAME`."""
    label, slash, name = path.partition("/")
    if not (label and slash and name) or "/" in name:
        raise UserError(f"{where}: {path!r} is not CLASS/NAME; {_AGAIN}")
    return Listed(label, path)


def extract(archive: Path, *required: str, optional: str | None = None) -> dict[str, bytes]:
    """The bytes of some members of an archive, such as its lists; reads until all are found."""
    wanted = {*required, optional} - {None}
    found: dict[str, bytes] = {}
    for member, data in members(archive, wanted.__contains__):
        found[member] = data
        if len(found) == len(wanted):
            break
    if missing := [member for member in required if member not in found]:
        raise UserError(f"{archive}: has no {missing[0]}; {_AGAIN}")
    return found


def published(name: str, dataset: Dataset, raw: Path, listed: Lists, archive: str) -> list[int]:
    """The positions in `listed.train` that the published list `archive` holds out."""
    if archive not in dataset.archives:
        raise UserError(
            f"datasets.{name}.prepare.validation: l2t_ww needs {archive} among datasets.{name}."
            "archives; add it, or set validation to own"
        )
    return own_split.published(raw / archive, len(listed.train))


def drawn(name: str, dataset: Dataset, listed: Lists, *, balanced: bool = True) -> list[int]:
    """Our own draw of as many validation images as params.yaml states."""
    wanted = (dataset.images or {}).get("validation", 0)
    labels = [listed.classes.index(image.label) for image in listed.train]
    return own_split.validation(name, labels, wanted, dataset.classes, balanced=balanced)


def write(
    name: str, dataset: Dataset, raw: Path, out: Path, listed: Lists, validation: list[int],
    archive: str, folder: str, size: int | None,
) -> None:  # fmt: skip
    """Decode the listed images of `folder` in `archive` and write the prepared set.

    `validation`: positions in `listed.train` of the images that validate; `size`: of squares to
    resize to, or None for the images' own sizes. What params.yaml states is checked first, since
    decoding takes minutes.
    """
    train, held_out = own_split.divide([image.member for image in listed.train], validation)
    parts = {
        "train": train,
        "validation": held_out,
        "test": [image.member for image in listed.test],
    }
    classes = listed.classes
    check(name, dataset, classes, parts)
    index = {label: i for i, label in enumerate(classes)}
    labels = {image.member: index[image.label] for image in [*listed.train, *listed.test]}
    path, prefix = raw / archive, f"{folder}/"
    wanted = {prefix + key for key in labels}
    with Writer(name, dataset, raw, out) as writer:
        for member, data in members(path, wanted.__contains__):
            writer.add(member.removeprefix(prefix), decode(data, f"{path}: {member}", size))
        if missing := [key for key in labels if key not in writer]:
            raise UserError(
                f"{path}: lacks {len(missing)} of {len(labels)} listed images, such as "
                f"{prefix}{missing[0]}; {_AGAIN}"
            )
        writer.finish(classes, labels, parts)
