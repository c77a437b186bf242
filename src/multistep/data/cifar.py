"""CIFAR-100's archive, which three datasets are made of: Python 2 pickles in a tar.gz.

`cifar-100-python/{train,test,meta}`: `data` is uint8 `[N, 3072]`, each row the 32×32 reds, then the
greens, then the blues, row by row; `fine_labels` are N numbers, `coarse_labels` the numbers of
their super-classes. Other members, such as the official archive's empty `file.txt~`, aren't read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multistep.data import prepared
from multistep.data.archives import single
from multistep.data.class_splits import Split, class_by_class
from multistep.data.decoding import AGAIN, resized, text, unpickled
from multistep.data.lists import extract
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

    def resized(self, size: int) -> Iterator[tuple[str, np.ndarray]]:
        """Key and uint8 `[size, size, 3]` of each image."""
        return zip(self.keys, (resized(image, size) for image in self.images), strict=True)

    def superclasses(self) -> dict[str, int]:
        """The super-class of each class."""
        pairs = zip(self.labels, self.coarse, strict=True)
        return {self.names[label]: superclass for label, superclass in pairs}


def read(name: str, dataset: Dataset, raw: Path, besides: str = "") -> Cifar:
    """The dataset's one archive, `besides` left out. Raises UserError naming what is wrong."""
    archive = raw / single(name, dataset, besides=besides)
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
        data, fine = field(member, "data"), field(member, "fine_labels")
        shape = (len(fine), 3 * SIDE * SIDE)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != shape:
            raise UserError(
                f"{archive}: {member}: no bytes of 32×32 images for {len(fine)} labels; {AGAIN}"
            )
        pixels.append(data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
        labels += [int(label) for label in fine]
        coarse += [int(label) for label in field(member, "coarse_labels")]
    names = [text(word) for word in field(members[2], "fine_label_names")]
    if len(coarse) != len(labels) or not 0 <= min(labels) <= max(labels) < len(names):
        raise UserError(f"{archive}: its labels don't fit each other; {AGAIN}")
    return Cifar(np.concatenate(pixels), len(pixels[0]), labels, coarse, names)


def write_classes(
    name: str, dataset: Dataset, raw: Path, out: Path, cifar: Cifar, parts: Split
) -> None:
    """Write the prepared set with the classes of `parts`, training and test images together."""
    names = [cifar.names[label] for label in cifar.labels]
    described = class_by_class(parts, dict(zip(cifar.keys, names, strict=True)), f"datasets.{name}")
    size = dataset.prepare["size"]
    images, shape = cifar.resized(size), (size, size, 3)
    prepared.write(name, dataset, raw, out, **described, shape=shape, images=images)
