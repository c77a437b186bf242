"""tieredImageNet (Ren et al., 2018): 608 classes of ImageNet, in one of its two distributions.

Pickles, for each of the parts train, val and test: `<part>_images_png.pkl`, a list of PNG files of
84×84 pixels, and `<part>_labels.pkl`, whose `label_specific` are their classes and whose
`label_specific_str` the names of these; `synsets.txt` and `class_names.txt`, line by line, give the
WordNet number of each name. Folders: `<part>/<WordNet number>/<file>`. Archives may hold them under
any folder. Nothing is ever held whole: the images are 16 GB.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from multistep.data import class_splits, prepared
from multistep.data.archives import gathered, names, naming, streams
from multistep.data.class_splits import FILES, Labels, of_archive
from multistep.data.decoding import (
    AGAIN,
    LARGEST_FILE,
    Resample,
    decode,
    png_files,
    unpickled,
    whole,
    words,
)
from multistep.data.listing import lines
from multistep.data.settings import Dataset, Side
from multistep.files import UserError
from multistep.settings import Model

LAYOUT = r"(.*/)?(train_images_png\.pkl|train/n\d{8}/[^/]+\.(?i:jpe?g|png))"

_IMAGES = re.compile(r"(?:^|/)(train|val|test)_images_png\.pkl$")
_LABELS = re.compile(r"(?:^|/)(train|val|test)_labels\.pkl$")
_FILE = re.compile(r"(?:^|/)(train|val|test)/(n\d{8})/([^/]+\.(?:jpe?g|png))$", re.IGNORECASE)
_NAMES = ("synsets.txt", "class_names.txt")


class Settings(Model):
    """`size`: pixels of a side; `split`: `ren`, the published classes, or `listed`, what the
    archive itself says (of other data); `resample`: the filter, where images aren't of that size.
    """

    size: Side
    resample: Resample
    split: Literal["ren", "listed"]


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`. Raises UserError naming the archive or member at fault."""
    s = Settings.model_validate(dataset.prepare)
    archives = [raw / archive for archive in dataset.archives]
    pickled = any(_IMAGES.search(member) for path in archives for member in names(path))
    labels = _pickled_labels(archives, s.split) if pickled else _filed_labels(archives)
    wanted = "{}_labels.pkl" if pickled else "{}/n<8 digits>/<file>"
    described = of_archive(name, dataset, raw, labels, wanted)
    images = _pickled_images(archives, s, labels) if pickled else _files(archives, s)
    shape = (s.size, s.size, 3)
    prepared.write(name, dataset, raw, out, **described, shape=shape, images=images)


def _filed_labels(archives: list[Path]) -> Labels:
    """From the paths of the images alone."""
    labels: Labels = {}
    for member in (member for archive in archives for member in names(archive)):
        if match := _FILE.search(member):
            labels.setdefault(FILES[match[1]], {})[f"{match[2]}/{match[3]}"] = match[2]
    return labels


def _files(archives: list[Path], s: Settings) -> Iterator[tuple[str, np.ndarray]]:
    for member, data, where in gathered(archives, _FILE.search, LARGEST_FILE):
        yield "/".join(PurePosixPath(member).parts[-2:]), decode(data, where, s.size, s.resample)


def _pickled_labels(archives: list[Path], split: str) -> Labels:
    """WordNet numbers of all images, from the labels and the two lists of names."""
    found: dict[str, tuple[str, dict[str, object]]] = {}
    lists: dict[str, list[str]] = {}
    wanted = lambda m: _LABELS.search(m) or PurePosixPath(m).name in _NAMES  # noqa: E731
    for member, data, where in gathered(archives, wanted):
        match, file = _LABELS.search(member), PurePosixPath(member).name
        if file in lists or (match and FILES[match[1]] in found):
            raise UserError(f"{where}: a second {file}; leave one of them out")
        if match:
            found[FILES[match[1]]] = where, unpickled(data, where)
        else:
            lists[file] = lines(data, where)
    if missing := [file for file in _NAMES if file not in lists]:
        raise UserError(f"{archives[0]}: has no {missing[0]}; {AGAIN}")
    synsets, names = (lists[file] for file in _NAMES)
    if len(synsets) != len(names):
        raise UserError(
            f"{archives[0]}: {len(synsets)} lines of synsets.txt and {len(names)} of "
            f"class_names.txt; {AGAIN}"
        )
    every, labels = dict.fromkeys(class_splits.PARTS, synsets), Labels()
    published = every if split == "listed" else class_splits.committed("tieredimagenet", split)
    for part, entry in found.items():
        may = set(published[part])
        known = [pair for pair in zip(names, synsets, strict=True) if pair[1] in may]
        labels[part] = _numbered(part, *entry, known)
    return labels


def _numbered(
    part: str, where: str, found: dict[str, object], known: list[tuple[str, str]]
) -> dict[str, str]:
    """The WordNet number of each image of a part, from (name, number) of the classes it may have.

    Two of ImageNet's classes may share a name; those of one part take its numbers in turn.
    """
    labels, names = found.get("label_specific"), found.get("label_specific_str")
    if labels is None or not isinstance(names, list):
        raise UserError(f"{where}: no label_specific and label_specific_str; {AGAIN}")
    indices = whole(labels, f"{where}: label_specific")
    left: dict[str, list[str]] = {}
    for label, number in known:
        left.setdefault(label, []).append(number)
    numbers = []
    for label in (name.strip() for name in words(names, where)):
        if not left.get(label):
            raise UserError(
                f"{where}: class {label!r} has no number of the {part} classes in synsets.txt and "
                f"class_names.txt; {AGAIN}"
            )
        numbers.append(left[label].pop(0))
    if not 0 <= min(indices) <= max(indices) < len(numbers):
        raise UserError(f"{where}: labels of classes without a name; {AGAIN}")
    return {f"{part}/{i:06}": numbers[label] for i, label in enumerate(indices)}


def _pickled_images(
    archives: list[Path], s: Settings, labels: Labels
) -> Iterator[tuple[str, np.ndarray]]:
    for archive in archives:
        for member, stream in streams(archive):
            if (match := _IMAGES.search(member)) is None:
                continue
            part, where, count = FILES[match[1]], f"{archive}: {member}", 0
            with naming(archive, member):
                for data in png_files(stream, where):
                    pixels = decode(data, f"{where}: image {count}", s.size, s.resample)
                    yield f"{part}/{count:06}", pixels
                    count += 1
            if count != len(labels[part]):
                raise UserError(f"{where}: {count} images, but {len(labels[part])} labels; {AGAIN}")
