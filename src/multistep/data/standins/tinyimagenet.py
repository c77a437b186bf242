"""A stand-in for TinyImageNet: drawn photographs in its tree of JPEGs."""

from multistep.data.standins import photographs
from multistep.data.standins.packing import Members, drawing
from multistep.data.standins.photographs import Settings

_FOLDER, _SIDE = "tiny-imagenet-200", 64
_BOX = f"0\t0\t{_SIDE - 1}\t{_SIDE - 1}\n"


def _members(s: Settings) -> Members:
    """`test` fills `val/`; `test/`, which has no labels, gets an image of each class."""
    train, test = s.places()
    wnids = [f"n9{i:07}" for i in range(s.classes)]  # made-up numbers
    words = zip(wnids, photographs.names("tinyimagenet", s.classes), strict=True)
    yield f"{_FOLDER}/wnids.txt", "".join(f"{wnid}\n" for wnid in wnids).encode()
    yield f"{_FOLDER}/words.txt", "".join(f"{wnid}\t{name}\n" for wnid, name in words).encode()
    for wnid in wnids:
        boxes = "".join(f"{wnid}_{number}.JPEG\t{_BOX}" for number in range(s.train))
        yield f"{_FOLDER}/train/{wnid}/{wnid}_boxes.txt", boxes.encode()
    files = {f"train/{wnids[i]}/images/{wnids[i]}_{n}.JPEG": (i, n) for i, n in train}
    files |= {f"val/images/val_{row}.JPEG": place for row, place in enumerate(test)}
    files |= {f"test/images/test_{i}.JPEG": (i, s.train + s.test) for i in range(s.classes)}
    files = {f"{_FOLDER}/{file}": place for file, place in files.items()}
    yield from photographs.jpegs("tinyimagenet", files, _SIDE, s.seed)
    lines = "".join(f"val_{row}.JPEG\t{wnids[i]}\t{_BOX}" for row, (i, _) in enumerate(test))
    yield f"{_FOLDER}/val/val_annotations.txt", lines.encode()


draw = drawing({"*.zip": _members})
