"""Which classes train, validate and test: committed lists, and rules for other data.

Of Omniglot, section 5.2 follows the protocol of its reference [11], whose split is a shuffle of all
characters in whatever order the file system lists them. `finn` pins one such shuffle as a committed
list; `vinyals` is the published list whose test alphabets are unseen in training, which is harder.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from multistep.data.settings import PARTS, Dataset
from multistep.files import UserError, digest, read_json

Split = dict[str, list[str]]
Labels = dict[str, dict[str, str]]  # the class of each image, by part and key
# What distributions of ImageNet's subsets call the parts.
FILES = {"train": "train", "val": "validation", "test": "test"}
SPLITS = Path(__file__).parent / "splits"

# Omniglot's sizes in [11]: 1200 characters to train on, of which 100 may validate; 423 to test.
SIZES = (1100, 100, 423)


def split(rule: str, classes: Sequence[str], dataset: str) -> Split:
    """Omniglot's class names of each part by one of the rules, checked disjoint and complete.

    `classes`: all names "Alphabet/characterNN", the background archive's first, sorted within each
    archive. Raises UserError where the rule doesn't fit the classes that are present.
    """
    if rule == "proportional":
        # From 60 classes on, validation and test get at least the 20 that 20-way episodes need.
        return divided(shuffled(classes), (68, 6, 26), 20 if len(classes) >= 3 * 20 else 1)
    if rule != "sorted":
        return committed_for("omniglot", rule, classes, dataset)
    if len(classes) != sum(SIZES):
        raise UserError(_unfit(rule, sum(SIZES), dataset, f"has {len(classes)}"))
    return divided([[name] for name in classes], SIZES)


def divided(groups: Sequence[Sequence[str]], shares: tuple[int, int, int], least: int = 1) -> Split:
    """Groups of classes in the order given, none of them cut, by the `shares` of the parts; at
    least so many validate and test. Each part is sorted, so that lists are easy to compare.
    """
    count = len(groups)
    if count < len(PARTS):
        raise UserError(f"{count} groups of classes can't be split into three parts; draw more")
    test, validation = (max(least, round(n / sum(shares) * count)) for n in shares[:0:-1])
    ends = (0, count - validation - test, count - test, count)
    runs = zip(PARTS, ends[:-1], ends[1:], strict=True)
    return {part: sorted(chain(*groups[a:b])) for part, a, b in runs}


def shuffled(classes: Sequence[str]) -> list[list[str]]:
    """Each class as a group: the sorted names in one fixed order, which `finn` pins."""
    names = sorted(classes)
    random.Random(1).shuffle(names)
    return [[name] for name in names]


# --- committed lists --------------------------------------------------------------------------


def list_file(loader: str, rule: str) -> Path:
    """Where the committed list of a loader's split lies, if it has one."""
    return SPLITS / f"{loader}_{rule}.json"


def read_list(file: Path) -> Split:
    """Read a list of classes; one that was edited no longer fits its own digest."""
    stored = read_json(file)
    parts = {part: stored[part] for part in PARTS}
    if digest(parts) != stored["digest"]:
        raise UserError(f"{file}: the list doesn't fit its digest; take the file of the release")
    return parts


def committed(loader: str, rule: str) -> Split:
    """The committed list of classes `splits/<loader>_<rule>.json`."""
    return read_list(list_file(loader, rule))


def committed_for(loader: str, rule: str, classes: Iterable[str], dataset: str) -> Split:
    """The committed list; a UserError unless it is of just these classes."""
    parts = committed(loader, rule)
    listed, found = set(chain(*parts.values())), set(classes)
    for different, told in ((listed - found, "lacks {}"), (found - listed, "has {} more")):
        if different:
            difference = f"{told.format(len(different))}, such as {min(different)}"
            raise UserError(_unfit(rule, len(listed), dataset, difference))
    return parts


def _unfit(rule: str, count: int, dataset: str, difference: str) -> str:
    return (
        f"datasets.{dataset}.prepare.split: {rule} is a list of {count} classes and the data "
        f"{difference}; for other data set it to proportional"
    )


# --- from classes to images -------------------------------------------------------------------


def class_by_class(parts: Split, class_of: Mapping[str, str], where: str) -> dict[str, Any]:
    """Classes, labels and parts of images as `prepared.write` takes them, from the class of each
    image by its key: class after class, sorted by name, and in each by key.

    Raises UserError if a class stands in two parts.
    """
    part_of: dict[str, str] = {}
    for part in PARTS:
        for label in parts[part]:
            if part_of.setdefault(label, part) != part:
                raise UserError(
                    f"{where}: class {label} stands in {part_of[label]} and in {part}; mend the "
                    "lists"
                )
    classes = sorted(part_of)
    index = {label: i for i, label in enumerate(classes)}
    order = sorted(class_of, key=lambda key: (class_of[key], key))
    return {
        "classes": classes,
        "labels": {key: index[class_of[key]] for key in order},
        "parts": {part: [k for k in order if part_of[class_of[k]] == part] for part in PARTS},
    }


def of_archive(
    name: str, dataset: Dataset, raw: Path, labels: Labels, wanted: str
) -> dict[str, Any]:
    """The same from what an archive itself says: the class of each image by part and key.

    Raises UserError if a part is absent, `wanted` being the file that would have it, or if classes
    aren't those of the committed list (with the rule `listed`, for other data, there is none).
    """
    for file, part in FILES.items():
        if part not in labels:
            raise UserError(
                f"{raw}: no {wanted.format(file)} in its archives; add it to one, or put it there "
                f"as another one (datasets.{name}.archives)"
            )
    parts = {part: sorted(set(labels[part].values())) for part in PARTS}
    rule = dataset.prepare["split"]
    for part, expected in committed(dataset.loader, rule).items() if rule != "listed" else ():
        if different := sorted(set(expected) ^ set(parts[part])):
            has = "lacks" if different[0] in expected else "has"
            raise UserError(
                f"{raw}: {has} {different[0]} among its {part} classes ({len(different)} differ), "
                f"unlike the published list; get the published one, or set "
                f"datasets.{name}.prepare.split to listed for other data"
            )
    class_of = {key: label for part in PARTS for key, label in labels[part].items()}
    return class_by_class(parts, class_of, str(raw))
