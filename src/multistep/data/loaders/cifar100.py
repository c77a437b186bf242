"""CIFAR-100 with its 100 fine labels: Python 2 pickles in a tar.gz.

`cifar-100-python/{train,test,meta}`: `data` is uint8 `[N, 3072]`, each row the 32×32 reds, then the
greens, then the blues, row by row; `fine_labels` are N numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from multistep.data import own_split
from multistep.data.archives import members, single
from multistep.data.pickles import text, unpickled
from multistep.data.preparing import Writer, resized
from multistep.data.settings import Dataset
from multistep.files import UserError
from multistep.settings import Model

FOLDER = "cifar-100-python"
SIDE = 32
PUBLISHED = "cifar100-val"  # the archive with the list of L2T-ww
_AGAIN = "get the archive again"


class Settings(Model):
    """`size`: pixels of a side; `validation`: the list of L2T-ww, or our own balanced draw."""

    size: int = Field(ge=8)
    validation: Literal["l2t_ww", "own"]


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`: test images and then training images, in the pickles' order.

    Raises UserError naming the archive or member at fault.
    """
    settings = Settings.model_validate(dataset.prepare)
    archive = raw / single(name, dataset, besides=PUBLISHED)
    labels: dict[str, dict[str, int]] = {}  # of each part, by key
    classes: list[str] = []
    with Writer(name, dataset, raw, out) as writer:
        for member, data in members(archive, lambda name: name.startswith(f"{FOLDER}/")):
            part, where = member.removeprefix(f"{FOLDER}/"), f"{archive}: {member}"
            if part == "meta":
                words = field(unpickled(data, where), "fine_label_names", where)
                classes = [text(word) for word in words]
            elif part in ("train", "test"):
                images, fine = batch(unpickled(data, where), where)
                labels[part] = {f"{part}/{i:06}": label for i, label in enumerate(fine)}
                for key, pixels in zip(labels[part], images, strict=True):
                    writer.add(key, resized(pixels, settings.size))
        found = {*labels, *(["meta"] if classes else [])}
        if missing := sorted({"train", "test", "meta"} - found):
            raise UserError(f"{archive}: has no {FOLDER}/{missing[0]}; {_AGAIN}")
        own = list(labels["train"].values())
        chosen = own_split.choose(name, dataset, settings.validation, raw, PUBLISHED, own)
        train, validation = own_split.divide(list(labels["train"]), chosen)
        parts = {"train": train, "validation": validation, "test": list(labels["test"])}
        writer.finish(classes, labels["train"] | labels["test"], parts)


def field(found: dict[str, Any], name: str, where: str) -> Any:
    """An entry of one of the archive's dictionaries."""
    if name not in found:
        raise UserError(f"{where} has no {name}; is this CIFAR-100, in its Python version?")
    return found[name]


def batch(found: dict[str, Any], where: str) -> tuple[np.ndarray, list[int]]:
    """uint8 `[N, 32, 32, 3]` and N labels."""
    data, labels = field(found, "data", where), field(found, "fine_labels", where)
    shape = (len(labels), 3 * SIDE * SIDE)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != shape:
        raise UserError(f"{where}: no bytes of 32×32 images for {len(labels)} labels; {_AGAIN}")
    return data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), [int(label) for label in labels]
