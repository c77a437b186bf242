"""Stanford-40 ("Action"): 9,532 photographs of people doing one of 40 things, in two zips.

Members are `JPEGImages/ACTION_NNN.jpg` and, of the other zip, `ImageSplits/train.txt`, `test.txt`
and `actions.txt`, whose first line is a heading (Yao et al., ICCV 2011).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from multistep.data import galleries
from multistep.data.archives import extract
from multistep.data.decoding import AGAIN
from multistep.data.galleries import Listed, Lists
from multistep.data.listing import fields, lines, path
from multistep.data.settings import Dataset
from multistep.files import UserError

Settings = galleries.OwnSettings
LAYOUT = r"JPEGImages/[^/]+_\d+\.jpg"

IMAGES, SPLITS = "Stanford40_JPEGImages.zip", "Stanford40_ImageSplits.zip"

_NAME = re.compile(r"(?P<action>[^/]+)_\d+\.(?i:jpe?g)")


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`. Raises UserError naming the archive or member at fault."""
    splits = raw / SPLITS
    train, test, actions = (f"ImageSplits/{part}.txt" for part in ("train", "test", "actions"))
    found = extract(splits, train, test, optional=actions)
    both = parse(found[train], found[test], found.get(actions), str(splits))
    galleries.write(name, dataset, raw, out, both, IMAGES, "JPEGImages")


def parse(train: bytes, test: bytes, actions: bytes | None, where: str) -> Lists:
    """The lists, from the bytes of train.txt, test.txt and, if the archive has it, actions.txt.

    Raises UserError for a name of another form, or if the actions aren't those of actions.txt.
    """
    parts = (_images(train, f"{where}: train.txt"), _images(test, f"{where}: test.txt"))
    both = galleries.checked(*parts, where)
    if actions is not None:
        # A line is the action and the number of its images, so what stands before the first blank.
        named = {fields(line)[0] for line in lines(actions, f"{where}: actions.txt")[1:]}
        if differing := sorted(named ^ set(both.classes)):
            raise UserError(
                f"{where}: {differing[0]} is not in both actions.txt and the lists of images; "
                f"{AGAIN}"
            )
    return both


def _images(data: bytes, where: str) -> Iterator[Listed]:
    for name in (path(line).name for line in lines(data, where)):
        match = _NAME.fullmatch(name)
        if not match:
            raise UserError(f"{where}: {name!r} is not ACTION_NUMBER.jpg; {AGAIN}")
        yield Listed(match["action"], name)
