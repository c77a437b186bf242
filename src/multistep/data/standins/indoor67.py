"""A stand-in for MIT Indoor-67: drawn photographs in a tar, and its two lists as plain files.

As in the real set, some names hold blanks, the tar has images that no list names, and lists don't
end in a newline.
"""

from functools import partial

from multistep.data.loaders.indoor67 import ARCHIVE, FOLDER, TEST, TRAIN
from multistep.data.standins import photographs
from multistep.data.standins.packing import Members, drawing
from multistep.data.standins.photographs import Gallery as Settings
from multistep.data.standins.photographs import Place


def _images(s: Settings) -> Members:
    yield from photographs.gallery("indoor67", lambda place: f"{FOLDER}/{_path(place)}")(s)
    more = ((i, s.train + s.test + j) for i in range(s.classes) for j in range(2))
    files = {f"{FOLDER}/{_path(place)}": place for place in more}
    yield from photographs.jpegs("indoor67", files, s.sides, s.seed)


def _list(name: str, s: Settings) -> Members:
    train, test = s.places()
    yield name, "\n".join(_path(place) for place in (train if name == TRAIN else test)).encode()


def _path(place: Place) -> str:
    name = "drawn room" if place[1] % 5 == 1 else "drawn"
    return f"drawn_room_{place[0] + 1:02}/{name}_{place[1] + 1:03}.jpg"


draw = drawing({ARCHIVE: _images, TRAIN: partial(_list, TRAIN), TEST: partial(_list, TEST)})
