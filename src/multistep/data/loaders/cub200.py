"""CUB-200-2011 ("Bird"): one compressed tar with 11,788 photographs of 200 species and their lists.

Members are `CUB_200_2011/images/NNN.Species/NAME.jpg`; `images.txt` numbers them and
`train_test_split.txt` says of each number whether it is for training (Wah et al., Caltech
CNS-TR-2011-001).
"""

from pathlib import Path

from multistep.data import galleries
from multistep.data.archives import extract
from multistep.data.decoding import AGAIN
from multistep.data.galleries import Lists, in_folders
from multistep.data.galleries import Settings as Settings
from multistep.data.listing import fields, lines
from multistep.data.settings import Dataset
from multistep.files import UserError
from multistep.settings import repeated

LAYOUT = r"CUB_200_2011/images\.txt"

ARCHIVE, FOLDER = "CUB_200_2011.tgz", "CUB_200_2011"


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`. Raises UserError naming the archive or member at fault."""
    path = raw / ARCHIVE
    images, split = f"{FOLDER}/images.txt", f"{FOLDER}/train_test_split.txt"
    found = extract(path, images, split)
    both = parse(found[images], found[split], str(path))
    galleries.write(name, dataset, raw, out, both, ARCHIVE, f"{FOLDER}/images")


def parse(images: bytes, split: bytes, where: str) -> Lists:
    """The lists, from the bytes of images.txt (number, path) and train_test_split.txt (number, 0
    or 1 for training).

    Raises UserError if a line has another form, or if the two don't number the same images.
    """
    paths = _numbered(images, f"{where}: images.txt")
    parts = _numbered(split, f"{where}: train_test_split.txt")
    if differing := sorted(paths.keys() ^ parts.keys()):
        raise UserError(
            f"{where}: image {differing[0]} is not in both images.txt and train_test_split.txt; "
            f"{AGAIN}"
        )
    if odd := [number for number, part in parts.items() if part not in ("0", "1")]:
        raise UserError(
            f"{where}: train_test_split.txt: image {odd[0]} is marked {parts[odd[0]]!r}, "
            f"not 0 or 1; {AGAIN}"
        )
    train, test = ([path for n, path in paths.items() if parts[n] == part] for part in "10")
    place = f"{where}: images.txt"
    return galleries.checked(in_folders(train, place), in_folders(test, place), where)


def _numbered(data: bytes, where: str) -> dict[str, str]:
    """Image number -> the rest of its line."""
    rows = [fields(line, 1) for line in lines(data, where)]
    if bad := [row for row in rows if len(row) != 2 or not row[0].isdigit()]:
        raise UserError(f"{where}: line {' '.join(bad[0])!r} is not a number and a value; {AGAIN}")
    if twice := repeated(number for number, _ in rows):
        raise UserError(f"{where}: the number {twice[0]} stands in two lines; {AGAIN}")
    return dict(rows)
