"""A stand-in for CUB-200-2011: drawn photographs in its one tgz, lists included."""

from multistep.data.standins.packing import Members, drawing
from multistep.data.standins.photographs import Gallery as Settings
from multistep.data.standins.photographs import Place, gallery

ARCHIVE, FOLDER = "CUB_200_2011.tgz", "CUB_200_2011"


def _members(s: Settings) -> Members:
    """Images before their lists, which are then far from the archive's start."""
    yield "attributes.txt", b"1 has_pattern::drawn\n"
    yield f"{FOLDER}/README", b"Drawn photographs in the layout of CUB-200-2011.\n"
    yield from gallery("cub200", lambda place: f"{FOLDER}/images/{_path(place)}")(s)
    # Species after species, but in no order within one, as in the official list.
    listed = sorted((p for part in s.places() for p in part), key=lambda place: place[0])
    columns: dict[str, list[str] | list[int]] = {
        "classes": [_path((i, 0)).split("/")[0] for i in range(s.classes)],
        "images": [_path(place) for place in listed],
        "image_class_labels": [i + 1 for i, _ in listed],
        "train_test_split": [int(number < s.train) for _, number in listed],
    }
    for name, column in columns.items():
        rows = (f"{i} {value}\n" for i, value in enumerate(column, start=1))
        yield f"{FOLDER}/{name}.txt", "".join(rows).encode()


def _path(place: Place) -> str:
    i, j = place
    return f"{i + 1:03}.Drawn_{i + 1:02}/Drawn_{i + 1:02}_{j + 1:04}_{(7919 * j + i) % 997}.jpg"


draw = drawing({ARCHIVE: _members})
