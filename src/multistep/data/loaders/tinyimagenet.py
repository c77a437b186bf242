"""TinyImageNet: 64×64 JPEGs of 200 classes of ImageNet in one zip.

`train/<wnid>/images/*.JPEG` trains and validates; `val/images/*.JPEG`, whose classes stand in
`val/val_annotations.txt`, tests; `test/` has no labels and is left out. Classes are in the order of
their WordNet numbers, which is that of the published network's outputs.
"""

import re
from pathlib import Path

from pydantic import Field

from multistep.data import prepared, validation
from multistep.data.archives import members, single
from multistep.data.decoding import AGAIN, decode, lines
from multistep.data.settings import Dataset
from multistep.files import UserError
from multistep.settings import Model

_TRAIN = re.compile(r"[^/]+/(?P<key>train/(?P<wnid>[^/]+)/images/[^/]+\.JPEG)")
_TEST = re.compile(r"[^/]+/val/images/(?P<file>[^/]+\.JPEG)")
_ANNOTATIONS = re.compile(r"[^/]+/val/val_annotations\.txt")


class Settings(Model):
    """`size`: pixels of a side. As many images of every class validate as params.yaml states."""

    size: int = Field(ge=8)


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`, images sorted by file name.

    Raises UserError naming the archive or member at fault.
    """
    s = Settings.model_validate(dataset.prepare)
    archive = raw / single(name, dataset)
    wnids: dict[str, str] = {}  # of training images, by key
    annotations = b""
    for member, data in members(archive, _wanted):
        if _ANNOTATIONS.fullmatch(member):
            annotations = data
        elif match := _TRAIN.fullmatch(member):
            wnids[match["key"]] = match["wnid"]
    if not wnids:
        raise UserError(f"{archive}: has no train/<wnid>/images/*.JPEG; {AGAIN}")
    tested = _annotated(annotations, f"{archive}: val/val_annotations.txt")
    classes = sorted(set(wnids.values()))
    if strange := sorted(set(tested.values()) - set(classes)):
        raise UserError(
            f"{archive}: val/val_annotations.txt names {strange[0]}, which has no training image; "
            f"{AGAIN}"
        )
    number = {wnid: i for i, wnid in enumerate(classes)}
    files = validation.in_order(list(wnids))
    labels = {key: number[wnid] for key, wnid in sorted((wnids | tested).items())}
    parts = validation.divide(name, dataset, raw, files, [labels[key] for key in files])
    images = (
        (_key(member), decode(data, f"{archive}: {member}", s.size))
        for member, data in members(archive, _wanted)
        if not _ANNOTATIONS.fullmatch(member)
    )
    prepared.write(
        name, dataset, raw, out, classes=classes, labels=labels, parts=parts | {"test": [*tested]},
        shape=(s.size, s.size, 3), images=images,
    )  # fmt: skip


def _key(member: str) -> str:
    match = _TRAIN.fullmatch(member)
    return match["key"] if match else "val/" + member.rsplit("/", 1)[1]


def _wanted(member: str) -> bool:
    return any(pattern.fullmatch(member) for pattern in (_TRAIN, _TEST, _ANNOTATIONS))


def _annotated(data: bytes, where: str) -> dict[str, str]:
    """WordNet number by key of each test image; a line is file, number and a box."""
    found: dict[str, str] = {}
    for i, line in enumerate(lines(data, where), start=1):
        file, wnid, *_ = [*line.split("\t"), ""]
        if not file or not wnid:
            raise UserError(f"{where}, line {i}: not a file and its class; {AGAIN}")
        found[f"val/{file}"] = wnid
    if not found:
        raise UserError(f"{where}: absent or empty; {AGAIN}")
    return found
