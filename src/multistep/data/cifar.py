"""CIFAR-100's archive, which three datasets are made of: Python 2 pickles in a tar.gz.

`cifar-100-python/{train,test,meta}`: `data` is uint8 `[N, 3072]`, each row the 32×32 reds, then the
greens, then the blues, row by row; `fine_labels` are N numbers, `coarse_labels` the numbers of
their super-classes. Other members, such as the official archive's empty `file.txt~`, aren't read.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multistep.data import class_splits, prepared, validation
from multistep.data.archives import extract
from multistep.data.class_splits import PARTS
from multistep.data.decoding import AGAIN, resized, unpickled, whole, words
from multistep.data.settings import Dataset
from multistep.files import UserError

FOLDER = "cifar-100-python"
SIDE = 32


@dataclass(frozen=True)
class Cifar:
    """`images`: uint8 `[N, 32, 32, 3]`, the `train` training images and then the test images;
    `labels`, `coarse`: of fine and of super-classes, `[N]` each; `names`: of the fine labels.
    """

    images: np.ndarray
    train: int
    labels: list[int]
    coarse: list[int]
    names: list[str]

    @property
    def keys(self) -> list[str]:
        """Of the images, in their order."""
        return [f"{i:06}" for i in range(len(self.labels))]

    def resized(self, dataset: Dataset) -> dict[str, Any]:
        """Shape and images as `prepared.write` takes them."""
        size = dataset.prepare["size"]
        images = (resized(image, size) for image in self.images)
        return {"shape": (size, size, 3), "images": zip(self.keys, images, strict=True)}


def read(name: str, dataset: Dataset, raw: Path) -> Cifar:
    """The dataset's one archive with images. Raises UserError naming what is wrong."""
    archive = validation.images_archive(name, dataset, raw)
    members = [f"{FOLDER}/{part}" for part in ("train", "test", "meta")]
    found = extract(archive, *members)
    entries = {m: unpickled(found[m], f"{archive}: {m}") for m in members}

    def field(member: str, key: str) -> Any:
        if key not in entries[member]:
            raise UserError(
                f"{archive}: {member} has no {key}; is this CIFAR-100, in its Python version?"
            )
        return entries[member][key]

    pixels, labels, coarse = [], [], []
    for member in members[:2]:
        data = field(member, "data")
        fine = whole(field(member, "fine_labels"), f"{archive}: {member}: fine_labels")
        shape = (len(fine), 3 * SIDE * SIDE)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != shape:
            raise UserError(
                f"{archive}: {member}: no bytes of 32×32 images for {len(fine)} labels; {AGAIN}"
            )
        pixels.append(data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
        labels += fine
        coarse += whole(field(member, "coarse_labels"), f"{archive}: {member}: coarse_labels")
    names = words(field(members[2], "fine_label_names"), f"{archive}: {members[2]}")
    if len(coarse) != len(labels) or not 0 <= min(labels) <= max(labels) < len(names):
        raise UserError(f"{archive}: its labels don't fit each other; {AGAIN}")
    return Cifar(np.concatenate(pixels), len(pixels[0]), labels, coarse, names)


def prepare_classes(
    name: str, dataset: Dataset, raw: Path, out: Path, *, shares: tuple[int, int, int],
    together: bool = False,
) -> None:  # fmt: skip
    """Write the prepared set `out` of whole classes, their training and test images together.

    The setting `split` names a committed list, or is `proportional`: `shares` of the classes, or of
    super-classes if those stay `together`. Raises UserError naming the archive or member at fault,
    or a super-class that stands in two parts.
    """
    found, split = read(name, dataset, raw), dataset.prepare["split"]
    pairs = zip(found.labels, found.coarse, strict=True)
    group_of: dict[str, Any] = {found.names[i]: j if together else found.names[i] for i, j in pairs}
    if empty := sorted(set(found.names) - group_of.keys()):
        raise UserError(f"datasets.{name}: no image of class {empty[0]}; get the archive again")
    if split == "proportional":
        groups: dict[Any, list[str]] = {}
        for label in sorted(group_of):
            groups.setdefault(group_of[label], []).append(label)
        parts = class_splits.divided([groups[i] for i in sorted(groups)], shares)
    else:
        parts = class_splits.committed_for(dataset.loader, split, found.names, name)
    part_of: dict[Any, str] = {}
    for part, label in ((p, label) for p in PARTS for label in parts[p]):
        if (other := part_of.setdefault(group_of[label], part)) != part:
            raise UserError(
                f"datasets.{name}: {label} of {part} has super-class {group_of[label]} of the "
                f"archive, which stands in {other} too; get the archive again"
            )
    class_of = {key: found.names[i] for key, i in zip(found.keys, found.labels, strict=True)}
    described = class_splits.class_by_class(parts, class_of, f"datasets.{name}")
    prepared.write(name, dataset, raw, out, **described, **found.resized(dataset))
