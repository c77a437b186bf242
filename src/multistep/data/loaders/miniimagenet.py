"""miniImageNet: 100 classes of ImageNet with 600 images each, in one of its two distributions.

Files and lists: any folder with `<name>.jpg`, and `train.csv`, `val.csv` and `test.csv` (Ravi and
Larochelle, 2017) with the columns filename and label. Pickles: `mini-imagenet-cache-train.pkl`,
`...-val.pkl` and `...-test.pkl` (Ren et al., 2018), dictionaries of `image_data`, uint8
`[n, 84, 84, 3]`, and `class_dict`, the indices of each class. Archives may hold them in any way.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from multistep.data import listing, prepared
from multistep.data.archives import gathered, members, names
from multistep.data.class_splits import FILES, Labels, of_archive
from multistep.data.decoding import (
    AGAIN,
    LARGEST_FILE,
    Resample,
    decode,
    resized,
    text,
    unpickled,
    whole,
)
from multistep.data.settings import Dataset, Side
from multistep.files import UserError
from multistep.settings import Model

LAYOUT = r"(.*/)?(train\.csv|mini-imagenet-cache-train\.pkl)"

_PICKLE = re.compile(r"mini-imagenet-cache-(train|val|test)(idation)?\.pkl")


class Settings(Model):
    """`size`: pixels of a side; `split`: `ravi`, the published classes, or `listed`, what the
    archive's own lists say (of other data); `resample`: the filter, as Finn et al. (2017) or not.
    """

    size: Side
    resample: Resample
    split: Literal["ravi", "listed"]


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`. Raises UserError naming the archive or member at fault."""
    s = Settings.model_validate(dataset.prepare)
    archives = [raw / archive for archive in dataset.archives]
    # Only names are looked at: whatever the archive holds, one kind of it is there.
    pickled = any(_PICKLE.search(member) for path in archives for member in names(path))
    labels = _pickled_labels(archives) if pickled else _listed(archives)
    wanted = "mini-imagenet-cache-{}.pkl" if pickled else "{}.csv"
    described = of_archive(name, dataset, raw, labels, wanted)
    images = _files(archives, s, labels)
    if pickled:
        images = (
            (f"{part}/{i:06}", resized(pixels, s.size, s.resample))
            for part, _, arrays, _ in _pickles(archives)
            for i, pixels in enumerate(arrays)
        )
    shape = (s.size, s.size, 3)
    prepared.write(name, dataset, raw, out, **described, shape=shape, images=images)


def _listed(archives: list[Path]) -> Labels:
    """From train.csv, val.csv and test.csv; a file that two rows name is an error."""
    lists = {f"{file}.csv": part for file, part in FILES.items()}
    labels: Labels = {}
    seen: set[str] = set()
    for member, data, where in gathered(archives, lambda m: PurePosixPath(m).name in lists):
        found = labels.setdefault(lists[PurePosixPath(member).name], {})
        if found:
            raise UserError(f"{where}: a second list of this part; leave one of them out")
        for named, label in listing.table(data, where, "filename", "label"):
            file = listing.path(named).name
            if file in seen:
                raise UserError(f"{where}: {file} is listed twice; mend the lists")
            seen.add(file)
            found[file] = label
    return labels


def _files(archives: list[Path], s: Settings, labels: Labels) -> Iterator[tuple[str, np.ndarray]]:
    listed = set().union(*labels.values())
    for archive in archives:
        of = {member: PurePosixPath(member).name for member in names(archive)}
        files = listing.named(listed, of.values(), str(archive))
        wanted = {member: files[name] for member, name in of.items() if name in files}
        for member, data in members(archive, wanted.__contains__, LARGEST_FILE):
            pixels = decode(data, f"{archive}: {member}", s.size, s.resample)
            yield wanted[member], pixels


def _pickled_labels(archives: list[Path]) -> Labels:
    labels: Labels = {}
    for part, where, images, indices in _pickles(archives):
        found = labels.setdefault(part, {})
        for label, places in indices.items():
            for i in whole(places, f"{where}: class_dict"):
                if not 0 <= i < len(images) or f"{part}/{i:06}" in found:
                    raise UserError(f"{where}: class_dict doesn't fit image_data; {AGAIN}")
                found[f"{part}/{i:06}"] = text(label)
    return labels


def _pickles(archives: list[Path]) -> Iterator[tuple[str, str, np.ndarray, dict[Any, Any]]]:
    """Part, name for messages, images and class_dict of each, read one at a time (0.8 GB)."""
    for member, data, where in gathered(archives, _PICKLE.search):
        (part, _), found = _PICKLE.findall(member)[0], unpickled(data, where)
        images, indices = found.get("image_data"), found.get("class_dict")
        shaped = isinstance(images, np.ndarray) and images.ndim == 4 and images.shape[3] == 3
        if not shaped or images.dtype != np.uint8 or not isinstance(indices, dict):  # type: ignore[union-attr]
            raise UserError(f"{where}: no image_data [n, 84, 84, 3] and class_dict; {AGAIN}")
        yield FILES[part], where, images, indices  # type: ignore[misc]
