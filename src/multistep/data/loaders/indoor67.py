"""MIT Indoor-67 ("Indoor"): a tar of 15,620 photographs of 67 kinds of room, and two lists.

Members are `Images/ROOM/NAME.jpg`. `TrainImages.txt` and `TestImages.txt` name 5,360 and 1,340 of
them (Quattoni & Torralba, CVPR 2009); the others are never used. Some names hold blanks; what is
called `..._gif.jpg`, `..._png.jpg` or `..._bmp.jpg` isn't JPEG and is read as what it is.
"""

from pathlib import Path

from multistep.data import galleries
from multistep.data.archives import extract
from multistep.data.galleries import Lists, in_folders
from multistep.data.listing import lines
from multistep.data.settings import Dataset

Settings = galleries.OwnSettings
LAYOUT = r"Images/(?!n\d{8}-)[^/]+/[^/]+\.jpg"

ARCHIVE, FOLDER = "indoorCVPR_09.tar", "Images"
TRAIN, TEST = "TrainImages.txt", "TestImages.txt"
# Three training images, which some who use the set remove since their readers don't take them.
BROKEN = r"(?i)_bmp\.jpg$"


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`. Raises UserError naming the archive or member at fault."""
    train, test = (extract(raw / file, file)[file] for file in (TRAIN, TEST))
    both = parse(train, test, str(raw))
    galleries.write(name, dataset, raw, out, both, ARCHIVE, FOLDER, balanced=False, broken=BROKEN)


def parse(train: bytes, test: bytes, where: str) -> Lists:
    """The lists, from the bytes of the two files: one `ROOM/NAME` a line."""
    first, second = f"{where}/{TRAIN}", f"{where}/{TEST}"
    return galleries.checked(
        in_folders(lines(train, first), first), in_folders(lines(test, second), second), where
    )
