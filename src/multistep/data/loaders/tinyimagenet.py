"""TinyImageNet: 64×64 JPEGs of 200 classes of ImageNet in one zip.

`train/<wnid>/images/*.JPEG` trains and validates; `val/images/*.JPEG`, whose classes stand in
`val/val_annotations.txt`, tests; `test/` has no labels and is left out. Classes are in the order of
their WordNet numbers, which is that of the published network's outputs.
"""

import re
from pathlib import Path

from multistep.data import listing, prepared, validation
from multistep.data.archives import extract, gathered, names
from multistep.data.decoding import AGAIN, LARGEST_FILE, decode
from multistep.data.settings import Dataset, Side
from multistep.files import UserError
from multistep.settings import Model

LAYOUT = r"[^/]+/train/[^/]+/images/[^/]+\.JPEG"

_TRAIN = re.compile(r"[^/]+/(?P<key>train/(?P<wnid>[^/]+)/images/[^/]+\.(?i:jpe?g))")
_TEST = re.compile(r"[^/]+/val/images/(?P<file>[^/]+\.(?i:jpe?g))")
_ANNOTATIONS = re.compile(r"[^/]+/val/val_annotations\.txt")


class Settings(Model):
    """`size`: pixels of a side. As many images of every class validate as params.yaml states."""

    size: Side


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`, images sorted by file name.

    Raises UserError naming the archive or member at fault.
    """
    size, archive = dataset.prepare["size"], validation.images_archive(name, dataset, raw)
    found = names(archive)
    trained = {m: match for m in found if (match := _TRAIN.fullmatch(m))}
    if not trained:
        raise UserError(f"{archive}: has no train/<wnid>/images/*.JPEG; {AGAIN}")
    wnids = {match["key"]: match["wnid"] for match in trained.values()}
    texts = extract(archive, *(m for m in found if _ANNOTATIONS.fullmatch(m)))
    tested = _annotated(b"".join(texts.values()), f"{archive}: val/val_annotations.txt")
    files = {m: f"val/{match['file']}" for m in found if (match := _TEST.fullmatch(m))}
    listed = listing.named(tested, files.values(), str(archive))
    keys = {m: match["key"] for m, match in trained.items()}
    keys |= {m: listed[file] for m, file in files.items() if file in listed}
    classes = sorted(set(wnids.values()))
    if strange := sorted(set(tested.values()) - set(classes)):
        raise UserError(
            f"{archive}: val/val_annotations.txt names {strange[0]}, which has no training image; "
            f"{AGAIN}"
        )
    number = {wnid: i for i, wnid in enumerate(classes)}
    training = validation.in_order(list(wnids))
    labels = {key: number[wnid] for key, wnid in sorted((wnids | tested).items())}
    parts = validation.divide(name, dataset, raw, training, [labels[key] for key in training])
    images = gathered([archive], keys.__contains__, LARGEST_FILE)
    prepared.write(
        name, dataset, raw, out, classes=classes, labels=labels, parts=parts | {"test": [*tested]},
        shape=(size, size, 3),
        images=((keys[member], decode(data, where, size)) for member, data, where in images),
    )  # fmt: skip


def _annotated(data: bytes, where: str) -> dict[str, str]:
    """WordNet number by key of each test image; a line is file, number and a box."""
    found: dict[str, str] = {}
    for i, line in enumerate(listing.lines(data, where), start=1):
        file, wnid, *_ = [*listing.fields(line), ""]
        if not file or not wnid:
            raise UserError(f"{where}, line {i}: not a file and its class; {AGAIN}")
        if (key := f"val/{listing.path(file).name}") in found:
            raise UserError(f"{where}, line {i}: {file} is listed twice; mend the list")
        found[key] = wnid
    if not found:
        raise UserError(f"{where}: absent or empty; {AGAIN}")
    return found
