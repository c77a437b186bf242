"""STL-10: 96×96 photographs of 10 classes, as Matlab wrote them; the unlabelled ones are skipped.

`stl10_binary/{train,test}_X.bin`: uint8, each image its reds, greens and blues, each of them column
by column; `{train,test}_y.bin`: labels from 1; `class_names.txt`: a name in each line.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

import numpy as np
from pydantic import Field

from multistep.data import own_split
from multistep.data.archives import naming, single, streams
from multistep.data.preparing import Writer, resized
from multistep.data.settings import Dataset
from multistep.files import UserError
from multistep.settings import Model

FOLDER = "stl10_binary"
SIDE = 96
PUBLISHED = "stl10-val"  # the archive with the list of L2T-ww
_IMAGE = 3 * SIDE * SIDE  # bytes
_AGAIN = "get the archive again"
_WANTED = ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt")


class Settings(Model):
    """`size`: pixels of a side; `validation`: the list of L2T-ww, or our own balanced draw."""

    size: int = Field(ge=8)
    validation: Literal["l2t_ww", "own"]


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`: test images and then training images, in the files' order.

    Raises UserError naming the archive or member at fault.
    """
    settings = Settings.model_validate(dataset.prepare)
    archive = raw / single(name, dataset, besides=PUBLISHED)
    keys: dict[str, list[str]] = {}
    texts: dict[str, bytes] = {}
    with Writer(name, dataset, raw, out) as writer:
        for member, stream in streams(archive):
            file = member.removeprefix(f"{FOLDER}/")
            if file not in _WANTED:
                continue
            with naming(archive, member):
                if not file.endswith("_X.bin"):
                    texts[file] = stream.read()
                    continue
                part = file.removesuffix("_X.bin")
                keys[part] = []
                for i, pixels in enumerate(_images(stream, f"{archive}: {member}")):
                    keys[part].append(f"{part}/{i:06}")
                    writer.add(keys[part][-1], resized(pixels, settings.size))
        if missing := sorted(set(_WANTED) - {f"{part}_X.bin" for part in keys} - set(texts)):
            raise UserError(f"{archive}: has no {FOLDER}/{missing[0]}; {_AGAIN}")
        classes = texts["class_names.txt"].decode().split()
        labels = {
            part: _labels(texts[f"{part}_y.bin"], len(keys[part]), len(classes), archive, part)
            for part in keys
        }
        chosen = own_split.choose(
            name, dataset, settings.validation, raw, PUBLISHED, labels["train"]
        )
        train, validation = own_split.divide(keys["train"], chosen)
        parts = {"train": train, "validation": validation, "test": keys["test"]}
        of_key = {
            key: label for part in keys for key, label in zip(keys[part], labels[part], strict=True)
        }
        writer.finish(classes, of_key, parts)


def _images(stream: IO[bytes], where: str) -> Iterator[np.ndarray]:
    """Each image as uint8 `[96, 96, 3]`, one at a time."""
    while data := stream.read(_IMAGE):
        if len(data) != _IMAGE:
            raise UserError(f"{where} ends within an image; {_AGAIN}")
        yield np.frombuffer(data, dtype=np.uint8).reshape(3, SIDE, SIDE).transpose(2, 1, 0)


def _labels(data: bytes, images: int, classes: int, archive: Path, part: str) -> list[int]:
    labels = [byte - 1 for byte in data]
    if len(labels) != images or not all(0 <= label < classes for label in labels):
        raise UserError(
            f"{archive}: {FOLDER}/{part}_y.bin doesn't have a label from 1 to {classes} for each "
            f"of {images} images; {_AGAIN}"
        )
    return labels
