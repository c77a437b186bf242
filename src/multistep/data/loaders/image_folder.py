"""Any dataset whose archives hold `<root>/<class>/<file>`: no code is needed to add one.

The class is the folder that an image lies in; `<root>` may be several folders, or none, but is one
for the whole archive. With a fixed seed parts are drawn from the images of each class, or whole
classes are, which episodes need.
"""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field

from multistep.data import decoding, prepared, validation
from multistep.data.archives import gathered, names
from multistep.data.settings import Dataset, Side
from multistep.files import UserError
from multistep.progress import say
from multistep.settings import Model

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp"}
LAYOUT = rf"(.*/)?[^/]+/[^/]+(?i:{'|'.join(map(re.escape, sorted(ENDINGS)))})"
_FORMATS = (*decoding.PHOTOGRAPHS, "PPM", "TIFF", "WEBP")


class Settings(Model):
    """`size`: of squares to resize to, or null for the images' own sizes.

    `validation` and `test`: images of each class that are held out, or with `split: classes` whole
    classes; the others train.
    """

    size: Side | None
    split: Literal["images", "classes"] = "images"
    validation: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = Field(ge=0)


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`, images sorted by class and file name.

    Raises UserError naming the archive or member at fault.
    """
    s, archives = Settings.model_validate(dataset.prepare), [raw / a for a in dataset.archives]
    of_class = folders(archives)
    labels = {key: i for i, keys in enumerate(of_class.values()) for key in keys}
    parts = divided(name, of_class, s)
    shape: Any = (s.size, s.size, 3)
    if s.size is None:
        files = gathered(archives, _is_image, decoding.LARGEST_FILE)
        shape = {_key(m): decoding.shape(data, where, _FORMATS) for m, data, where in files}
    images = (
        (_key(m), decoding.decode(data, where, s.size, formats=_FORMATS))
        for m, data, where in gathered(archives, _is_image, decoding.LARGEST_FILE)
    )
    prepared.write(
        name, dataset, raw, out, classes=list(of_class), labels=dict(sorted(labels.items())),
        parts=parts, shape=shape, images=images,
    )  # fmt: skip


def folders(archives: Iterable[Path]) -> dict[str, list[str]]:
    """The images of archives by class, both in the order of names; their keys: class and file.

    Raises UserError for an image in no folder or there twice, and for an archive with two roots.
    """
    found: dict[str, list[str]] = {}
    lies: dict[str, Path] = {}
    others: list[str] = []
    for archive in archives:
        first = None
        for member in names(archive):
            if not _is_image(member):
                others.append(f"{archive}: {member}")
                continue
            folder = PurePosixPath(member).parent
            root, label = str(folder.parent), folder.name
            if not label:
                raise UserError(f"{archive}: {member} is in no folder of a class")
            if (first := first or root) != root:
                raise UserError(
                    f"{archive}: folders of classes lie in {first} and in {root}; pack it as "
                    "<root>/<class>/<file>"
                )
            if (key := _key(member)) in lies:
                raise UserError(
                    f"{archive}: {key} is in {lies[key].name} already; take one of the two out, or "
                    "rename it"
                )
            lies[key] = archive
            found.setdefault(label, []).append(key)
    if others:
        more = f" and {len(others) - 1} more" if others[1:] else ""
        say(f"{others[0]}{more}: left out, hidden or no image by its name")
    return {label: validation.in_order(found[label]) for label in sorted(found)}


def divided(name: str, of_class: Mapping[str, Sequence[str]], s: Settings) -> dict[str, list[str]]:
    """The keys of each part. Raises UserError if there are too few images, or classes.

    A class's images are drawn whatever the other classes are.
    """
    parts: dict[str, list[str]] = {"test": [], "validation": [], "train": []}
    groups = [(f"{s.seed} {label}", [[key] for key in keys]) for label, keys in of_class.items()]
    few = "{} has {} images, too few for {} validation and {} test images besides training"
    if s.split == "classes":
        groups = [(f"{s.seed} classes", [list(keys) for keys in of_class.values()])]
        few = "it has {1} classes, too few for {2} validation and {3} test classes besides training"
    for seed, items in groups:
        if len(items) <= s.validation + s.test:
            told = few.format(seed.partition(" ")[2], len(items), s.validation, s.test)
            raise UserError(f"datasets.{name}.prepare: {told}")
        random.Random(seed).shuffle(items)
        ends = (0, s.test, s.test + s.validation, len(items))
        for part, begin, end in zip(parts, ends, ends[1:], strict=False):
            parts[part] += [key for item in items[begin:end] for key in item]
    return parts


def _key(member: str) -> str:
    return "/".join(PurePosixPath(member).parts[-2:])


def _is_image(member: str) -> bool:
    """Not a readme, and nothing hidden."""
    path = PurePosixPath(member)
    return path.suffix.lower() in ENDINGS and not any(p.startswith(".") for p in path.parts)
