"""STL-10: 96×96 photographs of 10 classes, as Matlab wrote them; the unlabelled ones are skipped.

`stl10_binary/{train,test}_X.bin`: uint8, each image its reds, greens and blues, each of them column
by column; `{train,test}_y.bin`: labels from 1; `class_names.txt`: a name in each line.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from multistep.data import prepared, validation
from multistep.data.archives import blocks, naming, streams
from multistep.data.decoding import AGAIN, resized
from multistep.data.listing import lines
from multistep.data.settings import Dataset
from multistep.data.validation import Settings
from multistep.files import UserError

__all__ = ["Settings"]

FOLDER = "stl10_binary"
SIDE = 96
_BYTES = 3 * SIDE * SIDE  # of an image
_IMAGES = {"train_X.bin": "train", "test_X.bin": "test"}
_TEXTS = ("train_y.bin", "test_y.bin", "class_names.txt")


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`: test images and then training images, in the files' order.

    Raises UserError naming the archive or member at fault.
    """
    size, archive = dataset.prepare["size"], validation.images_archive(name, dataset, raw)
    texts: dict[str, bytes] = {}
    counts: dict[str, int] = {}  # of images, by part
    for member, stream in streams(archive):
        file = member.removeprefix(f"{FOLDER}/")
        with naming(archive, member):
            if file in _TEXTS:
                texts[file] = stream.read()
            elif file in _IMAGES:
                counts[_IMAGES[file]], rest = divmod(sum(map(len, blocks(stream))), _BYTES)
                if rest:
                    raise UserError(f"{archive}: {member} ends within an image; {AGAIN}")
        if len(texts) == len(_TEXTS) and len(counts) == len(_IMAGES):
            break
    absent = [f for f, part in _IMAGES.items() if part not in counts]
    if missing := sorted([*absent, *(set(_TEXTS) - set(texts))]):
        raise UserError(f"{archive}: has no {FOLDER}/{missing[0]}; {AGAIN}")
    classes = lines(texts["class_names.txt"], f"{archive}: {FOLDER}/class_names.txt")
    labels: dict[str, dict[str, int]] = {}
    for part, count in sorted(counts.items()):
        found = [byte - 1 for byte in texts[f"{part}_y.bin"]]
        if len(found) != count or not all(0 <= label < len(classes) for label in found):
            raise UserError(
                f"{archive}: {FOLDER}/{part}_y.bin doesn't have a label from 1 to {len(classes)} "
                f"for each of {count} images; {AGAIN}"
            )
        labels[part] = {f"{part}/{i:06}": label for i, label in enumerate(found)}
    files, own = list(labels["train"]), list(labels["train"].values())
    parts = validation.divide(name, dataset, raw, files, own)
    prepared.write(
        name, dataset, raw, out, classes=classes, labels=labels["test"] | labels["train"],
        parts=parts | {"test": list(labels["test"])}, shape=(size, size, 3),
        images=((key, resized(pixels, size)) for key, pixels in _images(archive)),
    )  # fmt: skip


def _images(archive: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Key and uint8 `[96, 96, 3]` of each image, one at a time."""
    left = set(_IMAGES)
    for member, stream in streams(archive):
        if (file := member.removeprefix(f"{FOLDER}/")) not in left:
            continue
        with naming(archive, member):
            for i, data in enumerate(blocks(stream, _BYTES)):
                pixels = np.frombuffer(data, dtype=np.uint8).reshape(3, SIDE, SIDE)
                yield f"{_IMAGES[file]}/{i:06}", pixels.transpose(2, 1, 0)
        left.remove(file)
        if not left:
            return
