"""Which classes of Omniglot train, validate and test: committed lists, and rules for other data.

Section 5.2 follows the protocol of its reference [11], whose split is a shuffle of all characters
in whatever order the file system lists them. `finn` pins one such shuffle as a committed list;
`vinyals` is the published list whose test alphabets are unseen in training, which is harder.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from multistep.files import UserError, digest, read_json

Split = dict[str, list[str]]
PARTS = ("train", "validation", "test")
COMMITTED = ("finn", "vinyals")
SPLITS = Path(__file__).parent / "splits"

# Omniglot's sizes in [11]: 1200 characters to train on, of which 100 may validate; 423 to test.
SIZES = (1100, 100, 423)
# A 20-way episode needs 20 classes, in validation as in the test.
_WAYS = 20


def split(rule: str, classes: Sequence[str], dataset: str) -> Split:
    """Class names of each part by one of the rules, checked disjoint and complete.

    `classes`: all names "Alphabet/characterNN", the background archive's first, sorted within each
    archive. Raises UserError where the rule doesn't fit the classes that are present.
    """
    if rule in COMMITTED:
        return _matching(load_committed(rule), rule, classes, dataset)
    if rule == "sorted":
        if len(classes) != sum(SIZES):
            raise UserError(_unfit(rule, dataset, f"has {len(classes)} classes"))
        return _cut(classes, *SIZES[:2])
    if rule == "proportional":
        return proportional(classes)
    raise UserError(f"datasets.{dataset}.prepare.split: {rule!r} is no split of Omniglot")


def finn(classes: Sequence[str]) -> Split:
    """The rule behind the committed list: sorted names, one fixed shuffle, 1100/100/423."""
    return _cut(_shuffled(classes), *SIZES[:2])


def proportional(classes: Sequence[str]) -> Split:
    """The same shuffle for any number of classes: 68% train, 6% validate, 26% test.

    From 60 classes on, validation and test get at least the 20 that 20-way episodes need.
    """
    n = len(classes)
    least = _WAYS if n >= 3 * _WAYS else 1
    test = max(least, round(0.26 * n))
    validation = max(least, round(0.06 * n))
    if n < 3:
        raise UserError(f"{n} classes can't be split into training, validation and test; draw more")
    return _cut(_shuffled(classes), n - validation - test, validation)


def load_committed(name: str) -> Split:
    """The committed list `finn` or `vinyals`."""
    return read_list(list_file("omniglot", name))


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


def _matching(parts: Split, rule: str, classes: Sequence[str], dataset: str) -> Split:
    listed = [name for part in PARTS for name in parts[part]]
    if len(set(listed)) != len(listed):
        raise UserError(f"split {rule}: a class stands in two parts")
    if missing := sorted(set(listed) - set(classes)):
        raise UserError(_unfit(rule, dataset, f"lacks {len(missing)}, such as {missing[0]}"))
    if extra := sorted(set(classes) - set(listed)):
        raise UserError(_unfit(rule, dataset, f"has {len(extra)} more, such as {extra[0]}"))
    return parts


def _unfit(rule: str, dataset: str, difference: str) -> str:
    return (
        f"datasets.{dataset}.prepare.split: {rule} is a list of Omniglot's 1623 classes and the "
        f"data {difference}; for other data set it to proportional"
    )


def _shuffled(classes: Sequence[str]) -> list[str]:
    names = sorted(classes)
    random.Random(1).shuffle(names)
    return names


def _cut(names: Sequence[str], train: int, validation: int) -> Split:
    """Consecutive parts of `names`, each sorted so that lists are easy to compare."""
    ends = (0, train, train + validation, len(names))
    return {part: sorted(names[a:b]) for part, a, b in zip(PARTS, ends[:-1], ends[1:], strict=True)}
