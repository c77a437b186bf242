"""Sets of photographs whose publishers name the training and the test images one by one, in lists.

Lists are sorted by class and then by name, as L2T-ww (Jang et al. 2019) walks its folders
`train/CLASS/`, so that its published lists of indices fit.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from multistep.data import decoding, listing, prepared, stated, validation
from multistep.data.archives import gathered, names
from multistep.data.decoding import AGAIN
from multistep.data.settings import Dataset, Side
from multistep.files import UserError
from multistep.progress import say
from multistep.settings import Model, repeated


class OwnSettings(Model):
    """`size`: of squares to resize to, or null for the images' own; `validation`: our draw."""

    size: Side | None
    validation: Literal["own"]


class Settings(OwnSettings):
    """The same, for sets with a published list of validation images."""

    validation: Literal["l2t_ww", "own"]  # type: ignore[assignment]


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

    @cached_property
    def labels(self) -> dict[str, int]:
        """The class index of each image, by its path, sorted by path."""
        index = {label: i for i, label in enumerate(self.classes)}
        every = sorted([*self.train, *self.test], key=lambda image: image.member)
        return {image.member: index[image.label] for image in every}


def checked(train: Iterable[Listed], test: Iterable[Listed], where: str) -> Lists:
    """Sort both lists; `where` says in messages which lists they are.

    Raises UserError if an image is listed twice, or if a class lacks training or test images.
    """
    both = Lists(sorted(train), sorted(test))
    if twice := repeated(image.member for image in [*both.train, *both.test]):
        what = f"{len(twice)} images are listed twice, such as {twice[0]}"
        raise UserError(f"{where}: {what}; {AGAIN}")
    trained, tested = ({image.label for image in part} for part in (both.train, both.test))
    if lopsided := sorted(trained ^ tested):
        lacks = "test" if lopsided[0] in trained else "training"
        raise UserError(f"{where}: class {lopsided[0]} has no {lacks} image; {AGAIN}")
    return both


def in_folders(paths: Iterable[str], where: str) -> Iterator[Listed]:
    """Images listed as `CLASS/NAME`, whatever stands before."""
    for path in paths:
        label, name = ("", "", *listing.path(path).parts)[-2:]
        if label in ("", "/") or path.endswith("/"):
            raise UserError(f"{where}: {path!r} is not CLASS/NAME; {AGAIN}")
        yield Listed(label, f"{label}/{name}")


def write(
    name: str, dataset: Dataset, raw: Path, out: Path, listed: Lists, archive: str, folder: str,
    *, balanced: bool = True, broken: str = "$.",
) -> None:  # fmt: skip
    """Write the prepared set of the listed images in `folder` of `archive`.

    `balanced`: how validation images are drawn, as in `validation.divide`; `broken`: a pattern of
    images that may be broken in the official archive: those that can't be read are left out of
    their parts, which is said.
    """
    size, labels = dataset.prepare["size"], listed.labels
    files = [image.member for image in listed.train]
    own = [labels[file] for file in files]
    parts = validation.divide(name, dataset, raw, files, own, balanced=balanced)
    parts["test"] = [image.member for image in listed.test]
    stated.check(name, dataset, listed.classes, labels, parts)
    path, prefix = raw / archive, f"{folder}/"
    inside = listing.named((prefix + key for key in labels), names(path), str(path))
    keys = {member: listed.removeprefix(prefix) for member, listed in inside.items()}
    if missing := sorted(labels.keys() - keys.values()):
        raise UserError(
            f"{path}: lacks {len(missing)} of {len(labels)} listed images, such as "
            f"{prefix}{missing[0]}; {AGAIN}"
        )
    suspect = {key for key in labels if re.search(broken, key)}
    left_out: list[str] = []

    def found(wanted: Collection[str]) -> Iterator[tuple[str, bytes, str]]:
        of = lambda member: keys.get(member) in wanted  # noqa: E731
        for member, data, where in gathered([path], of, decoding.LARGEST_FILE):
            yield keys[member], data, where

    shapes: dict[str, tuple[int, int]] = {}
    looked_at = labels if size is None else suspect
    for key, data, where in found(looked_at) if looked_at else ():
        try:
            shapes[key] = decoding.shape(data, where)
            if key in suspect:
                decoding.decode(data, where)
        except UserError as error:
            if key not in suspect:
                raise
            say(f"{str(error).removesuffix(AGAIN)}it may be so in the official one: left out")
            left_out.append(key)

    whole = found(labels.keys() - left_out)
    prepared.write(
        name, dataset, raw, out, classes=listed.classes, labels=labels, parts=parts,
        shape=shapes if size is None else (size, size, 3), left_out=left_out,
        images=((key, decoding.decode(data, where, size)) for key, data, where in whole),
    )  # fmt: skip
