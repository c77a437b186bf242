"""Which training images validate, where a dataset has no validation part of its own (Table 6).

`l2t_ww`: the index lists that Jang et al. (2019) published for CIFAR-100, STL-10, CUB-200-2011 and
Stanford Dogs, downloaded like an archive. `own`: a fixed draw of ours; for MIT Indoor-67 and
Stanford-40, whose lists were never published, it stands committed in `splits/`.

Indices count the official training images as `in_order` sorts them (STL-10 and CIFAR-100: in the
order of their files).
"""

from __future__ import annotations

import hashlib
import pickle
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from multistep.data.preparing import stated
from multistep.data.settings import Dataset
from multistep.files import UserError, digest, read_json

SPLITS = Path(__file__).parent / "splits"
_SEED = 1  # as for the few-shot classes
# SHA-256 of the published indices, one per line.
_PUBLISHED = {
    "cifar100-val": "d6569943b64debcd11f46e0b9e92a0deb6e703c61f405fde4f76730d1c4784a4",
    "stl10-val": "3eebd7391322f929c14f66a704cb5b0c735cb752a34f40b7efdcfc5d29debec9",
    "cub200-val": "3ce2660883dc94556e3747bf0fd848ac63cdcf893b9190da35390ae450bf4c81",
    "dog-val": "adf6a45eb2f66f3e68cc2d95dbf4cd3bc32e0eaa3b03ddaaf70fd5c4c8af545c",
}


def in_order(files: Sequence[str]) -> list[str]:
    """Sorted by folder, then by name, as code that walks a tree of classes lists them."""
    return sorted(files, key=lambda file: file.split("/"))


def per_class(labels: Sequence[int], count: int, seed: int = _SEED) -> list[int]:
    """Sorted indices of `count` images of every class, drawn with a fixed seed.

    Raises ValueError if a class has fewer.
    """
    of_class: dict[int, list[int]] = {}
    for i, label in enumerate(labels):
        of_class.setdefault(int(label), []).append(i)
    draw = random.Random(seed)
    return sorted(i for label in sorted(of_class) for i in draw.sample(of_class[label], count))


def uniform(images: int, count: int, seed: int = _SEED) -> list[int]:
    """Sorted indices of `count` of `images` images, whatever their classes."""
    return sorted(random.Random(seed).sample(range(images), count))


def choose(
    name: str, dataset: Dataset, rule: str, raw: Path, archive: str, labels: Sequence[int]
) -> list[int]:
    """Indices of the validation images among training images with these `labels`.

    `rule`: `own`, or `l2t_ww`, which reads the published list that is the dataset's `archive`.
    """
    if rule == "own":
        wanted = stated(name, dataset)["validation"]
        return validation(name, labels, wanted, dataset.classes)
    if archive not in dataset.archives:
        raise UserError(
            f"datasets.{name}.prepare.validation: l2t_ww needs {archive} among datasets.{name}."
            "archives; add it, or set validation to own"
        )
    return published(raw / archive, len(labels))


def validation(
    name: str, labels: Sequence[int], wanted: int, classes: int, *, balanced: bool = True
) -> list[int]:
    """The `own` draw: `wanted` of the training images with these `labels`.

    Balanced: equally many of each class, or a UserError that names `datasets.<name>.images`.
    """
    where = f"datasets.{name}.images"
    if not 0 < wanted < len(labels):
        raise UserError(
            f"{where}: {wanted} validation images can't be taken from {len(labels)} training images"
        )
    if not balanced:
        return uniform(len(labels), wanted)
    each, rest = divmod(wanted, classes)
    if rest:
        raise UserError(f"{where}: {wanted} validation images are no multiple of {classes} classes")
    try:
        return per_class(labels, each)
    except ValueError:
        raise UserError(
            f"{where}: a class has fewer than the {each} training images that validation takes"
        ) from None


def committed(name: str, files: Sequence[str], draw: Callable[[], list[int]]) -> list[int]:
    """The list `splits/<name>_own.json` if `files` are the official training images, else `draw()`.

    `files` as from `in_order`; the draw is what made the list, and serves stand-ins and parts.
    Raises UserError where the list was edited.
    """
    path = SPLITS / f"{name}_own.json"
    stored = read_json(path)
    if digest(stored["validation"]) != stored["digest"]:
        raise UserError(f"{path}: the list doesn't fit its digest; take the file of the release")
    return stored["validation"] if digest(list(files)) == stored["files"] else draw()


def described(files: Sequence[str], chosen: list[int], rule: str) -> dict[str, Any]:
    """The content of a committed list."""
    return {
        "rule": rule,
        "images": len(files),
        "files": digest(list(files)),
        "digest": digest(chosen),
        "validation": chosen,
    }


def published(path: Path, images: int) -> list[int]:
    """The published list at `path`, which must be one of the four that are known.

    A list is a pair (class ids, sorted indices) in the container of early torch versions, a row of
    pickles. It is read without torch, and without ever calling what a pickle asks for. `images`:
    the number of training images that it must fit.
    """
    expected = _PUBLISHED.get(path.name)
    if expected is None:
        raise UserError(f"{path}: no published list; known: {', '.join(_PUBLISHED)}")
    if not path.is_file():
        raise UserError(f"{path}: no such file; download it first")
    found = None
    try:
        with open(path, "rb") as file:
            for _ in range(3):  # magic number, version, and what machine wrote it
                Inert(file).load()
            _, found = Inert(file).load()
        text = "".join(f"{index}\n" for index in found)
    except (pickle.UnpicklingError, EOFError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not a list of indices ({error}); download it again") from None
    if hashlib.sha256(text.encode()).hexdigest() != expected:
        raise UserError(f"{path}: not the published indices; delete it and download it again")
    if found[-1] >= images:
        raise UserError(
            f"{path}: the list of another set, its indices reach {found[-1]} and there are "
            f"{images} training images; set prepare.validation to own"
        )
    return [int(index) for index in found]


class Inert(pickle.Unpickler):
    """Reads numbers, strings, lists and dictionaries; whatever would call a function is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def divide(files: Sequence[str], chosen: Sequence[int]) -> tuple[list[str], list[str]]:
    """(train, validation): `files` without and with the `chosen` indices."""
    held_out = set(chosen)
    train = [file for i, file in enumerate(files) if i not in held_out]
    return train, [files[i] for i in chosen]
