"""TinyImageNet: 64×64 JPEGs of 200 classes of ImageNet in one zip.

`train/<wnid>/images/*.JPEG` trains and validates; `val/images/*.JPEG`, whose classes stand in
`val/val_annotations.txt`, tests; `test/` has no labels and is left out. Classes are in the order of
their WordNet numbers, which is that of the published network's outputs.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field

from multistep.data import own_split
from multistep.data.archives import members, single
from multistep.data.preparing import Writer, decode, stated
from multistep.data.settings import Dataset
from multistep.files import UserError
from multistep.settings import Model

_AGAIN = "get the archive again"
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
    settings = Settings.model_validate(dataset.prepare)
    archive = raw / single(name, dataset)
    wnids: dict[str, str] = {}  # of training images, by key
    annotations = ""
    with Writer(name, dataset, raw, out) as writer:
        for member, data in members(archive, _wanted):
            if _ANNOTATIONS.fullmatch(member):
                annotations = data.decode(errors="replace")
                continue
            if match := _TRAIN.fullmatch(member):
                key = match["key"]
                wnids[key] = match["wnid"]
            else:
                key = "val/" + member.rsplit("/", 1)[1]
            writer.add(key, decode(data, f"{archive}: {member}", settings.size))
        if not wnids:
            raise UserError(f"{archive}: has no train/<wnid>/images/*.JPEG; {_AGAIN}")
        tested = _annotated(annotations, f"{archive}: val/val_annotations.txt")
        classes = sorted(set(wnids.values()))
        if strange := sorted(set(tested.values()) - set(classes)):
            raise UserError(
                f"{archive}: val/val_annotations.txt names {strange[0]}, which has no training "
                f"image; {_AGAIN}"
            )
        number = {wnid: i for i, wnid in enumerate(classes)}
        files = own_split.in_order(list(wnids))
        labels = {key: number[wnid] for key, wnid in (wnids | tested).items()}
        wanted = stated(name, dataset)["validation"]
        own = [labels[key] for key in files]
        chosen = own_split.validation(name, own, wanted, dataset.classes)
        train, validation = own_split.divide(files, chosen)
        writer.finish(
            classes, labels, {"train": train, "validation": validation, "test": list(tested)}
        )


def _wanted(member: str) -> bool:
    return any(pattern.fullmatch(member) for pattern in (_TRAIN, _TEST, _ANNOTATIONS))


def _annotated(text: str, where: str) -> dict[str, str]:
    """WordNet number by key of each test image; a line is file, number and a box."""
    if not text:
        raise UserError(f"{where}: absent or empty; {_AGAIN}")
    found: dict[str, str] = {}
    for i, line in enumerate(filter(None, text.splitlines()), start=1):
        file, wnid, *_ = [*line.split("\t"), ""]
        if not file or not wnid:
            raise UserError(f"{where}, line {i}: not a file and its class; {_AGAIN}")
        found[f"val/{file}"] = wnid
    return found
