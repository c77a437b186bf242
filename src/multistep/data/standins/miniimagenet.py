"""A stand-in for miniImageNet: drawn photographs in either of its two distributions.

An archive whose name ends in .zip gets images and lists, another one pickles.
"""

import pickle

import numpy as np
from pydantic import Field

from multistep.data.standins import photographs
from multistep.data.standins.packing import Members, drawing
from multistep.settings import Model

_wnid = "n98{:06}".format  # made-up numbers


class Settings(Model):
    """`train`, `validation`, `test`: classes; `images`: of each, or of the smallest and of the
    largest; `side` in pixels.
    """

    train: int = Field(ge=1)
    validation: int = Field(ge=1)
    test: int = Field(ge=1)
    images: photographs.Range | int
    side: int = Field(ge=8)
    seed: int = Field(ge=0)

    def parts(self) -> dict[str, list[photographs.Place]]:
        """The images of each part, class after class; neighbours differ in size."""
        low, high = [self.images] * 2 if isinstance(self.images, int) else self.images
        counts, first, parts = (self.train, self.validation, self.test), 0, {}
        for part, count in zip(("train", "val", "test"), counts, strict=True):
            classes = range(first, first + count)
            parts[part] = [(c, n) for c in classes for n in range(low + 3 * c % (high - low + 1))]
            first += count
        return parts


def _files(s: Settings) -> Members:
    for part, places in s.parts().items():
        files = {f"{_wnid(c)}{n + 1:08}.jpg": (c, n) for c, n in places}
        lines = "".join(f"{file},{_wnid(c)}\n" for file, (c, _) in files.items())
        yield f"{part}.csv", f"filename,label\n{lines}".encode()
        images = {f"images/{file}": place for file, place in files.items()}
        yield from photographs.jpegs("miniimagenet", images, s.side, s.seed)


def _pickles(s: Settings) -> Members:
    for part, in_order in s.parts().items():
        places = photographs.shuffled(in_order, s.seed)
        images = np.stack([*photographs.images("miniimagenet", places, s.side, s.seed)])
        indices: dict[bytes, list[int]] = {_wnid(c).encode(): [] for c, _ in in_order}
        for i, (c, _) in enumerate(places):
            indices[_wnid(c).encode()].append(i)
        # The first protocol with byte strings, which stand for the official files' (of Python 2).
        data = pickle.dumps({b"image_data": images, b"class_dict": indices}, protocol=3)
        yield f"mini-imagenet-cache-{part}.pkl", data


draw = drawing({"*.zip": _files, "*": _pickles})
