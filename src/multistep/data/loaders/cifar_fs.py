"""CIFAR-FS (Bertinetto et al., 2019): CIFAR-100's classes at random, 64 / 16 / 20."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from multistep.data import cifar, class_splits
from multistep.data.settings import Dataset
from multistep.settings import Model


class Settings(Model):
    """`size`: pixels of a side; `split`: the published list, or for other data the same shares."""

    size: int = Field(ge=8)
    split: Literal["bertinetto", "proportional"]


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`. Raises UserError naming the archive or member at fault."""
    s = Settings.model_validate(dataset.prepare)
    found = cifar.read(name, dataset, raw)
    if s.split == "proportional":
        parts = class_splits.divided([[label] for label in sorted(found.names)], (64, 16, 20))
    else:
        parts = class_splits.committed_for("cifar_fs", s.split, found.names, name)
    cifar.write_classes(name, dataset, raw, out, found, parts)
