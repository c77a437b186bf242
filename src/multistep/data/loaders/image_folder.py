"""Any dataset whose archives hold `<root>/<class>/<file>`: no code is needed to add one.

The class is the folder that an image lies in; `<root>` may be several folders, or none, but is one
for the whole archive. Parts are drawn class by class with a fixed seed.
"""

import random
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydantic import Field

from multistep.data import decoding, prepared, validation
from multistep.data.archives import members
from multistep.data.settings import Dataset
from multistep.files import UserError
from multistep.settings import Model

_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp"}


class Settings(Model):
    """`size`: of squares to resize to, or null for the images' own sizes.

    `validation` and `test`: images of each class that are held out; the others train.
    """

    size: int | None = Field(ge=8)
    validation: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = Field(ge=0)


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`, images sorted by class and file name.

    Raises UserError naming the archive or member at fault.
    """
    s = Settings.model_validate(dataset.prepare)
    roots: dict[str, str] = {}  # of each archive, with one of its members
    of_class: dict[str, list[str]] = {}
    shapes: dict[str, tuple[int, int]] = {}
    for key, member, archive, data in _images(dataset, raw):
        folder = PurePosixPath(member).parent
        root, label = str(folder.parent), folder.name
        if not label:
            raise UserError(f"{archive}: {member} is in no folder of a class")
        if roots.setdefault(str(archive), root) != root:
            raise UserError(
                f"{archive}: folders of classes lie in {roots[str(archive)]} and in {root}; pack "
                "it as <root>/<class>/<file>"
            )
        if s.size is None:
            shapes[key] = decoding.shape(data, f"{archive}: {member}")
        of_class.setdefault(label, []).append(key)
    classes = sorted(of_class)
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for label in classes:
        for part, keys in _divided(name, label, of_class[label], s).items():
            parts[part] += keys
    labels = {key: i for i, label in enumerate(classes) for key in of_class[label]}
    images = (
        (key, decoding.decode(data, f"{archive}: {member}", s.size))
        for key, member, archive, data in _images(dataset, raw)
    )
    prepared.write(
        name, dataset, raw, out, classes=classes, labels=dict(sorted(labels.items())), parts=parts,
        shape=shapes if s.size is None else (s.size, s.size, 3), images=images,
    )  # fmt: skip


def _images(dataset: Dataset, raw: Path) -> Iterator[tuple[str, str, Path, bytes]]:
    """Key (class and file), member, archive and bytes of each image."""
    for archive in dataset.archives:
        for member, data in members(raw / archive, _is_image):
            yield "/".join(PurePosixPath(member).parts[-2:]), member, raw / archive, data


def _is_image(member: str) -> bool:
    """Not a readme, and nothing that a file browser left behind."""
    path = PurePosixPath(member)
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return path.suffix.lower() in _ENDINGS and not hidden


def _divided(name: str, label: str, keys: list[str], s: Settings) -> dict[str, list[str]]:
    """One class's images by part. Another class's images don't matter to it."""
    if len(keys) <= s.validation + s.test:
        raise UserError(
            f"datasets.{name}.prepare: {label} has {len(keys)} images, too few for "
            f"{s.validation} validation and {s.test} test images besides training"
        )
    shuffled = validation.in_order(keys)
    random.Random(f"{s.seed} {label}").shuffle(shuffled)
    ends = s.test, s.test + s.validation
    return {
        "train": shuffled[ends[1] :],
        "validation": shuffled[ends[0] : ends[1]],
        "test": shuffled[: ends[0]],
    }
