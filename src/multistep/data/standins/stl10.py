"""A stand-in for STL-10: drawn photographs in its binaries, and a few unlabelled ones."""

from pydantic import Field

from multistep.data.standins import photographs
from multistep.data.standins.packing import Members, drawing

FOLDER, SIDE = "stl10_binary", 96


class Settings(photographs.Settings):
    """`unlabeled`: images in all."""

    unlabeled: int = Field(ge=0)


def _members(s: Settings) -> Members:
    train, test = s.places()
    unlabelled = [(i % s.classes, s.train + s.test + i) for i in range(s.unlabeled)]
    for part, places in (("test", test), ("train", train), ("unlabeled", unlabelled)):
        images = photographs.images("stl10", places, SIDE, s.seed)
        # Channel by channel, and each column by column, as Matlab writes them.
        binary = b"".join(pixels.transpose(2, 1, 0).tobytes() for pixels in images)
        yield f"{FOLDER}/{part}_X.bin", binary
        if part != "unlabeled":
            yield f"{FOLDER}/{part}_y.bin", bytes(label + 1 for label, _ in places)
    yield f"{FOLDER}/class_names.txt", "\n".join(photographs.names("stl10", s.classes)).encode()
    folds = [" ".join(str(i) for i in range(fold, len(train), 10)) for fold in range(10)]
    yield f"{FOLDER}/fold_indices.txt", "\n".join(folds).encode()


draw = drawing({"*.tar.gz": _members})
