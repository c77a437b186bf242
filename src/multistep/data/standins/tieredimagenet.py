"""A stand-in for tieredImageNet: drawn photographs as PNG files in pickles, classes of any size."""

import pickle

import numpy as np

from multistep.data.standins import photographs
from multistep.data.standins.miniimagenet import Settings
from multistep.data.standins.packing import Members, drawing

_FOLDER, _KIND = "tiered-imagenet", "tieredimagenet"


def _members(s: Settings) -> Members:
    classes = s.train + s.validation + s.test
    names = photographs.names(_KIND, classes)
    numbers = [f"n97{i:06}" for i in range(classes)]  # made up
    yield f"{_FOLDER}/class_names.txt", "".join(f"{name}\n" for name in names).encode()
    yield f"{_FOLDER}/synsets.txt", "".join(f"{number}\n" for number in numbers).encode()
    for part, places in s.parts().items():
        first, last = places[0][0], places[-1][0]
        # Files as OpenCV returns them: uint8 `[bytes, 1]`.
        files = [
            np.frombuffer(photographs.encoded(pixels, "png"), dtype=np.uint8)[:, None].copy()
            for pixels in photographs.images(_KIND, places, s.side, s.seed)
        ]
        labels = {
            b"label_specific": np.array([c - first for c, _ in places], dtype=np.int32),
            b"label_specific_str": [name.encode() for name in names[first : last + 1]],
        }
        yield f"{_FOLDER}/{part}_images_png.pkl", pickle.dumps(files, protocol=3)
        yield f"{_FOLDER}/{part}_labels.pkl", pickle.dumps(labels, protocol=3)


draw = drawing({"*.tar": _members})
