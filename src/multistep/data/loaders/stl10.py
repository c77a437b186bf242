"""STL-10: 96×96 photographs of 10 classes, as Matlab wrote them; the unlabelled ones are skipped.

`stl10_binary/{train,test}_X.bin`: uint8, each image its reds, greens and blues, each of them column
by column; `{train,test}_y.bin`: labels from 1; `class_names.txt`: a name in each line.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from multistep.data import prepared, validation
from multistep.data.archives import blocks, extract, naming, streams
from multistep.data.decoding import AGAIN, resized
from multistep.data.listing import lines
from multistep.data.settings import Dataset
from multistep.data.validation import Settings as Settings
from multistep.files import UserError

LAYOUT = r"stl10_binary/train_X\.bin"

FOLDER = "stl10_binary"
SIDE = 96
_BYTES = 3 * SIDE * SIDE  # of an image


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`: test images and then training images, in the files' order.

    Raises UserError naming the archive or member at fault.
    """
    size, archive = dataset.prepare["size"], validation.images_archive(name, dataset, raw)
    listed, own = f"{FOLDER}/class_names.txt", {p: f"{FOLDER}/{p}_y.bin" for p in ("test", "train")}
    texts = extract(archive, listed, *own.values())
    classes = lines(texts[listed], f"{archive}: {listed}")
    labels: dict[str, dict[str, int]] = {}
    for part, member in own.items():
        labels[part] = {f"{part}/{i:06}": byte - 1 for i, byte in enumerate(texts[member])}
        if not all(0 <= label < len(classes) for label in labels[part].values()):
            raise UserError(f"{archive}: {member}: labels are from 1 to {len(classes)}; {AGAIN}")
    trained = labels["train"]
    parts = validation.divide(name, dataset, raw, [*trained], [*trained.values()])
    images = _images(archive, {part: len(found) for part, found in labels.items()})
    prepared.write(
        name, dataset, raw, out, classes=classes, labels=labels["test"] | trained,
        parts=parts | {"test": [*labels["test"]]}, shape=(size, size, 3),
        images=((key, resized(pixels, size)) for key, pixels in images),
    )  # fmt: skip


def _images(archive: Path, counts: Mapping[str, int]) -> Iterator[tuple[str, np.ndarray]]:
    """Key and uint8 `[96, 96, 3]` of each image, one at a time; `counts`: of each part's labels."""
    left = {f"{FOLDER}/{part}_X.bin": part for part in counts}
    for member, stream in streams(archive):
        if (part := left.pop(member, None)) is None:
            continue
        count = 0
        with naming(archive, member):
            for data in blocks(stream, _BYTES):
                if len(data) != _BYTES:
                    raise UserError(f"{archive}: {member} ends within an image; {AGAIN}")
                pixels = np.frombuffer(data, dtype=np.uint8).reshape(3, SIDE, SIDE)
                yield f"{part}/{count:06}", pixels.transpose(2, 1, 0)
                count += 1
        if count != counts[part]:
            raise UserError(
                f"{archive}: {member}: {count} images, but {counts[part]} labels; {AGAIN}"
            )
        if not left:
            return
    raise UserError(f"{archive}: has no {min(left)}; {AGAIN}")
