"""A stand-in for Stanford Dogs: drawn photographs in one tar, MATLAB lists in another."""

import io

import numpy as np

from multistep.data.standins.packing import Members, drawing
from multistep.data.standins.photographs import Gallery as Settings
from multistep.data.standins.photographs import Place, gallery

IMAGES, LISTS = "images.tar", "lists.tar"
TRAIN, TEST = "train_list.mat", "test_list.mat"

_TEXT = 116  # bytes at the start of a MATLAB 5 file that say who wrote it, and when


def _lists(s: Settings) -> Members:
    """Breed after breed, but in no order within one, as the official lists."""
    from scipy.io import savemat  # type: ignore[import-untyped]

    train, test = s.places()
    for member, places in (("file_list.mat", train + test), (TEST, test), (TRAIN, train)):
        listed = sorted(places, key=lambda place: place[0])
        names = [_path(place) for place in listed]
        lists = {
            "file_list": np.array(names, dtype=object)[:, None],
            "annotation_list": np.array([n.removesuffix(".jpg") for n in names], object)[:, None],
            "labels": np.array([[place[0] + 1.0] for place in listed]),
        }
        file = io.BytesIO()
        savemat(file, lists, do_compression=True)
        text = b"MATLAB 5.0 MAT-file, drawn by multistep".ljust(_TEXT)  # without its date
        yield member, text + file.getvalue()[_TEXT:]


def _path(place: Place) -> str:
    wnid = f"n{99000000 + place[0]}"
    return f"{wnid}-Drawn_{place[0] + 1:02}/{wnid}_{place[1] + 1}.jpg"


images = gallery("stanford_dogs", lambda place: f"Images/{_path(place)}")
draw = drawing({IMAGES: images, LISTS: _lists})
