"""A stand-in for MIT Indoor-67: drawn photographs in a tar, and its two lists as plain files.

As in the real set, some names hold blanks, some images are GIF, PNG or BMP and named so before
`.jpg`, the tar has images that no list names, and lists don't end in a newline.
"""

from functools import partial

from multistep.data.standins.packing import Members, drawing
from multistep.data.standins.photographs import Gallery as Settings
from multistep.data.standins.photographs import Place, gallery

ARCHIVE, FOLDER = "indoorCVPR_09.tar", "Images"
TRAIN, TEST = "TrainImages.txt", "TestImages.txt"


def _list(name: str, s: Settings) -> Members:
    train, test = s.places()
    yield name, "\n".join(_path(place) for place in (train if name == TRAIN else test)).encode()


def _path(place: Place) -> str:
    name = "drawn room" if place[1] % 5 == 1 else "drawn"
    form = {(0, 2): "_gif", (1, 3): "_png", (2, 4): "_bmp"}.get(place, "")
    return f"drawn_room_{place[0] + 1:02}/{name}_{place[1] + 1:03}{form}.jpg"


images = gallery("indoor67", lambda place: f"{FOLDER}/{_path(place)}", unlisted=2)
draw = drawing({ARCHIVE: images, TRAIN: partial(_list, TRAIN), TEST: partial(_list, TEST)})
