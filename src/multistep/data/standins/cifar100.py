"""A stand-in for CIFAR-100: drawn photographs in its pickles."""

import pickle
from collections.abc import Mapping

import numpy as np

from multistep.data.standins import photographs
from multistep.data.standins.packing import Members, drawing
from multistep.data.standins.photographs import Settings

FOLDER, SIDE = "cifar-100-python", 32


def _members(s: Settings) -> Members:
    yield f"{FOLDER}/file.txt~", b""  # the official archive has it: somebody's editor left it
    for part, places in zip(("train", "test"), s.places(), strict=True):
        images = photographs.images("cifar100", places, SIDE, s.seed)
        entries = {
            "filenames": [f"drawn_{part}_{i:06}.png".encode() for i in range(len(places))],
            "batch_label": f"drawn {part}".encode(),
            "fine_labels": [label for label, _ in places],
            "coarse_labels": [label // 5 for label, _ in places],
            # Each row is all of red, then green, then blue.
            "data": np.stack([pixels.transpose(2, 0, 1).ravel() for pixels in images]),
        }
        yield f"{FOLDER}/{part}", _pickled(entries)
    fine = [name.encode() for name in photographs.names("cifar100", s.classes)]
    coarse = [f"drawn_{i:02}".encode() for i in range((s.classes + 4) // 5)]
    yield f"{FOLDER}/meta", _pickled({"fine_label_names": fine, "coarse_label_names": coarse})


def _pickled(entries: Mapping[str, object]) -> bytes:
    # The first protocol that has byte strings, which the official files (of Python 2) are full of.
    return pickle.dumps({key.encode(): value for key, value in entries.items()}, protocol=3)


draw = drawing({"*.tar.gz": _members})
