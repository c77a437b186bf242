"""CIFAR-100 with its 100 fine labels and its own parts."""

from pathlib import Path

from multistep.data import cifar, prepared, validation
from multistep.data.settings import Dataset
from multistep.data.validation import Settings as Settings

LAYOUT = r"cifar-100-python/train"


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`: test images and then training images, in the pickles' order.

    Raises UserError naming the archive or member at fault.
    """
    found = cifar.read(name, dataset, raw)
    train, test = found.keys[: found.train], found.keys[found.train :]
    labels = dict(zip(found.keys, found.labels, strict=True))
    parts = validation.divide(name, dataset, raw, train, found.labels[: found.train])
    prepared.write(
        name, dataset, raw, out, classes=found.names, parts=parts | {"test": test},
        labels={key: labels[key] for key in [*test, *train]}, **found.resized(dataset),
    )  # fmt: skip
