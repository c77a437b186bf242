"""A stand-in for Stanford-40: drawn photographs in one zip, and the lists in another."""

from collections.abc import Iterable

from multistep.data.standins.packing import Members, drawing
from multistep.data.standins.photographs import Gallery as Settings
from multistep.data.standins.photographs import Place, gallery

IMAGES, SPLITS = "Stanford40_JPEGImages.zip", "Stanford40_ImageSplits.zip"


def _lists(s: Settings) -> Members:
    """The lists of all actions, and of each, with Windows line ends."""
    for part, places in zip(("train", "test"), s.places(), strict=True):
        yield f"ImageSplits/{part}.txt", _text(map(_name, places))
        for i in range(s.classes):
            own = (_name(place) for place in sorted(places) if place[0] == i)
            yield f"ImageSplits/{_action(i)}_{part}.txt", _text(own)
    rows = [f"{_action(i)}\t{s.train + s.test}" for i in range(s.classes)]
    yield "ImageSplits/actions.txt", _text(["action_name\tnumber_of_images", *rows])


def _action(i: int) -> str:
    return f"drawn_action_{i + 1:02}"


def _name(place: Place) -> str:
    return f"{_action(place[0])}_{place[1] + 1:03}.jpg"


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()


images = gallery("stanford40", lambda place: f"JPEGImages/{_name(place)}")
draw = drawing({IMAGES: images, SPLITS: _lists})
