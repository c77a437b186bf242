"""CIFAR-100 by classes: what CIFAR-FS and FC100 are both cut from, all 600 images of a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multistep.data import class_arrays
from multistep.data.archives import members, single
from multistep.data.class_splits import PARTS, Split
from multistep.data.loaders.cifar100 import FOLDER, batch, field
from multistep.data.pickles import text, unpickled
from multistep.data.preparing import resized
from multistep.data.settings import Dataset
from multistep.files import UserError


@dataclass(frozen=True)
class Classes:
    """`images`: uint8 `[N, 32, 32, 3]`, the training images and then the test images; `labels`,
    `coarse`: their fine labels and super-classes, `[N]`; `names`: of the fine labels.
    """

    images: np.ndarray
    labels: np.ndarray
    coarse: np.ndarray
    names: list[str]

    def superclasses(self) -> dict[str, int]:
        """The super-class of each class."""
        pairs = zip(self.labels, self.coarse, strict=True)
        return {self.names[label]: int(superclass) for label, superclass in pairs}


def read(name: str, dataset: Dataset, raw: Path) -> Classes:
    """The dataset's one archive, in the official layout (`multistep.data.loaders.cifar100`)."""
    archive = raw / single(name, dataset)
    found = {
        member.removeprefix(f"{FOLDER}/"): (unpickled(data, f"{archive}: {member}"), member)
        for member, data in members(archive, lambda m: m.startswith(f"{FOLDER}/"))
    }
    if missing := sorted({"train", "test", "meta"} - set(found)):
        raise UserError(f"{archive}: has no {FOLDER}/{missing[0]}; get the archive again")
    images, labels, coarse = [], [], []
    for part in ("train", "test"):
        entries, where = found[part][0], f"{archive}: {found[part][1]}"
        pixels, fine = batch(entries, where)
        images.append(pixels)
        labels += fine
        coarse += [int(label) for label in field(entries, "coarse_labels", where)]
    words = field(found["meta"][0], "fine_label_names", f"{archive}: {found['meta'][1]}")
    names = [text(word) for word in words]
    if len(coarse) != len(labels) or not 0 <= min(labels) <= max(labels) < len(names):
        raise UserError(f"{archive}: its labels don't fit each other; get the archive again")
    return Classes(np.concatenate(images), np.array(labels), np.array(coarse), names)


def write(
    name: str, dataset: Dataset, raw: Path, out: Path, *, found: Classes, parts: Split, size: int
) -> None:
    """Write the prepared set `out` with the classes of `parts`, which have to be all there are."""
    listed = {label for part in PARTS for label in parts[part]}
    if different := sorted(listed ^ set(found.names)):
        has = "lacks" if different[0] in listed else "has"
        raise UserError(
            f"datasets.{name}.prepare.split: a list of CIFAR-100's classes, and the data {has} "
            f"{different[0]} ({len(different)} differ); for other data set it to proportional"
        )
    keys: dict[str, list[str]] = {label: [] for label in found.names}
    for i, label in enumerate(found.labels):
        keys[found.names[label]].append(f"{i:06}")
    images = ((f"{i:06}", resized(pixels, size)) for i, pixels in enumerate(found.images))
    class_arrays.write(name, dataset, raw, out, parts=parts, keys=keys, images=images, size=size)


def divided(groups: Sequence[Sequence[str]], shares: tuple[float, float, float]) -> Split:
    """Groups of classes in the order given, none of them cut, by the `shares` of the parts."""
    count = len(groups)
    if count < len(PARTS):
        raise UserError(f"{count} groups of classes can't be split into three parts; draw more")
    test, validation = (max(1, round(share / sum(shares) * count)) for share in shares[:0:-1])
    ends = (0, count - validation - test, count - test, count)
    return {
        part: sorted(label for group in groups[a:b] for label in group)
        for part, a, b in zip(PARTS, ends[:-1], ends[1:], strict=True)
    }
