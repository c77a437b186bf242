"""Which training images validate, where a dataset has no validation part of its own (Table 6).

`l2t_ww`: the index lists that Jang et al. (2019) published for CIFAR-100, STL-10, CUB-200-2011 and
Stanford Dogs, downloaded like an archive. `own`: a fixed draw of ours; for MIT Indoor-67 and
Stanford-40, whose lists were never published, it stands committed in `splits/`.

Indices count the official training images as `in_order` sorts them (STL-10 and CIFAR-100: in the
order of their files).
"""

import hashlib
import pickle
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from multistep.data.class_splits import list_file
from multistep.data.decoding import Inert
from multistep.data.settings import Dataset, Side
from multistep.files import UserError, digest, read_json
from multistep.settings import Model

_SEED = 1  # as for the few-shot classes
# By loader the archive with the published list, and the SHA-256 of its indices, one per line.
PUBLISHED = {
    "cifar100": (
        "cifar100-val", "d6569943b64debcd11f46e0b9e92a0deb6e703c61f405fde4f76730d1c4784a4",
    ),
    "stl10": ("stl10-val", "3eebd7391322f929c14f66a704cb5b0c735cb752a34f40b7efdcfc5d29debec9"),
    "cub200": ("cub200-val", "3ce2660883dc94556e3747bf0fd848ac63cdcf893b9190da35390ae450bf4c81"),
    "stanford_dogs": (
        "dog-val", "adf6a45eb2f66f3e68cc2d95dbf4cd3bc32e0eaa3b03ddaaf70fd5c4c8af545c",
    ),
}  # fmt: skip


class Settings(Model):
    """`size`: pixels of a side; `validation`: the list of L2T-ww, or our own balanced draw."""

    size: Side
    validation: Literal["l2t_ww", "own"]


def in_order(files: Sequence[str]) -> list[str]:
    """Sorted by folder, then by name, as code that walks a tree of classes lists them."""
    return sorted(files, key=lambda file: file.split("/"))


def images_archive(name: str, dataset: Dataset, raw: Path) -> Path:
    """The only archive besides that with the published list; a UserError if there are others."""
    listed, _ = PUBLISHED.get(dataset.loader, ("", ""))
    found = [archive for archive in dataset.archives if archive != listed]
    if len(found) != 1:
        aside = f" besides {listed}" if listed else ""
        raise UserError(
            f"datasets.{name}.archives: this loader reads one archive{aside}, not {len(found)}"
        )
    return raw / found[0]


def divide(
    name: str, dataset: Dataset, raw: Path, files: Sequence[str], labels: Sequence[int], *,
    balanced: bool = True,
) -> dict[str, list[str]]:  # fmt: skip
    """The parts train and validation of official training images, `files` with these `labels`.

    By the setting `validation`: `l2t_ww` is the published list, one of the dataset's archives; else
    it is `splits/<loader>_own.json` if that counts just these files, or a draw of as many as
    params.yaml states, of every class alike if `balanced`.
    """
    if dataset.prepare.get("validation") == "l2t_ww":
        listed, indices = PUBLISHED[dataset.loader]
        if listed not in dataset.archives:
            raise UserError(
                f"datasets.{name}.prepare.validation: l2t_ww needs {listed} among "
                f"datasets.{name}.archives; add it, or set validation to own"
            )
        chosen = read_published(raw / listed, indices, len(files))
    else:
        found = read_committed(list_file(dataset.loader, "own"), files)
        chosen = drawn(name, dataset, labels, balanced=balanced) if found is None else found
    held_out = set(chosen)
    train = [file for i, file in enumerate(files) if i not in held_out]
    return {"train": train, "validation": [files[i] for i in chosen]}


def drawn(name: str, dataset: Dataset, labels: Sequence[int], *, balanced: bool) -> list[int]:
    """Sorted indices of our own draw among training images with these `labels`.

    Raises UserError, with the key in params.yaml, if the stated number can't be drawn.
    """
    where, images = f"datasets.{name}.images", dataset.images or {}
    wanted = images.get("validation", 0)
    if not 0 < wanted < len(labels):
        raise UserError(
            f"{where}: {wanted} validation images can't be taken from {len(labels)} training images"
        )
    if not balanced:
        return uniform(len(labels), wanted)
    each, rest = divmod(wanted, dataset.classes)
    if rest:
        raise UserError(
            f"{where}: {wanted} validation images are no multiple of {dataset.classes} classes"
        )
    if min(Counter(labels).values()) < each:
        raise UserError(
            f"{where}: a class has fewer than the {each} training images that validation takes"
        )
    return per_class(labels, each)


def per_class(labels: Sequence[int], count: int) -> list[int]:
    """Sorted indices of `count` images of every class, drawn with a fixed seed."""
    of_class: dict[int, list[int]] = {}
    for i, label in enumerate(labels):
        of_class.setdefault(int(label), []).append(i)
    draw = random.Random(_SEED)
    return sorted(i for label in sorted(of_class) for i in draw.sample(of_class[label], count))


def uniform(images: int, count: int) -> list[int]:
    """Sorted indices of `count` of `images` images, whatever their classes."""
    return sorted(random.Random(_SEED).sample(range(images), count))


def read_committed(path: Path, files: Sequence[str]) -> list[int] | None:
    """The committed list at `path`; None without one that counts these training images.

    Raises UserError where the list was edited.
    """
    if not path.exists():
        return None
    stored = read_json(path)
    if digest(stored["validation"]) != stored["digest"]:
        raise UserError(f"{path}: the list doesn't fit its digest; take the file of the release")
    return stored["validation"] if digest(list(files)) == stored["files"] else None


def read_published(path: Path, indices: str, images: int) -> list[int]:
    """The published list at `path`, by the SHA-256 of its `indices`.

    A list is a pair (class ids, sorted indices) in the container of early torch versions, a row of
    pickles. It is read without torch, and without ever calling what a pickle asks for. `images`:
    the number of training images that it must fit.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; download it first")
    try:
        with open(path, "rb") as file:
            for _ in range(3):  # magic number, version, and what machine wrote it
                Inert(file).load()
            _, found = Inert(file).load()
        text = "".join(f"{index}\n" for index in found)
    except (pickle.UnpicklingError, EOFError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not a list of indices ({error}); download it again") from None
    if hashlib.sha256(text.encode()).hexdigest() != indices:
        raise UserError(f"{path}: not the published indices; delete it and download it again")
    if found[-1] >= images:
        raise UserError(
            f"{path}: the list of another set, its indices reach {found[-1]} and there are "
            f"{images} training images; set prepare.validation to own"
        )
    return [int(index) for index in found]
