"""Whether what a loader found in its archives is what params.yaml states of the dataset."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from multistep.data.settings import PARTS, Dataset
from multistep.files import UserError
from multistep.settings import repeated


def check(
    name: str, dataset: Dataset, classes: Sequence[str], labels: Mapping[str, int],
    parts: Mapping[str, Sequence[str]],
) -> None:  # fmt: skip
    """Raise UserError unless classes, parts and images per class are what params.yaml states.

    Also if an image stands in two parts, or twice in one: a test on training images says nothing.
    """
    where, again = f"datasets.{name}", "get the archives again or correct it"
    if len(classes) != dataset.classes:
        raise UserError(
            f"{where}: {len(classes)} classes in the archives, but params.yaml states "
            f"{dataset.classes}; {again}"
        )
    if twice := repeated(unicodedata.normalize("NFC", label) for label in classes):
        raise UserError(f"{where}: two classes are called {twice[0]}; {again}")
    seen: dict[str, str] = {}
    for part, key in ((p, k) for p in PARTS for k in parts[p]):
        if key in seen:
            raise UserError(f"{where}: {key} stands in {seen[key]} and in {part}; mend the list")
        seen[key] = part
    least = dataset.images_per_class
    if (dataset.images is None and least is None) or (dataset.images and len(dataset.images) < 3):
        raise UserError(f"{where}.images: state the number of train, validation and test images")
    counts = Counter(labels[key] for key in seen)
    for i, label in enumerate(classes):
        if not counts[i]:
            raise UserError(f"{where}: class {label} has no image; {again}")
        if least and (counts[i] < least or (dataset.images is None and counts[i] > least)):
            bound = "" if dataset.images is None else " or more"
            raise UserError(
                f"{where}: class {label} has {counts[i]} images, not {least}{bound} as "
                f"params.yaml states (images_per_class); {again}"
            )
    trained, tested = ({labels[key] for key in parts[part]} for part in ("train", "test"))
    if trained & tested and (odd := sorted(tested - trained)):  # parts of images, not of classes
        raise UserError(f"{where}: class {classes[odd[0]]} has no training image; {again}")
    found = {part: len(parts[part]) for part in PARTS}
    if dataset.images is not None and found != dataset.images:
        here, stated = (
            ", ".join(f"{count[part]} {part}" for part in PARTS)
            for count in (found, dict[str, int](dataset.images))  # type: ignore[arg-type]
        )
        raise UserError(
            f"{where}: found {here} images, expected {stated} as params.yaml states; {again}"
        )
    if dataset.images is None and not all(found.values()):
        empty = next(part for part in PARTS if not found[part])
        raise UserError(f"{where}: no {empty} images in the archives; {again}")
