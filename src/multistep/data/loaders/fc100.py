"""FC100 (Oreshkin et al., 2018): CIFAR-100's classes by super-class, 12 / 4 / 4 of five each."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from multistep.data import cifar_classes, class_arrays
from multistep.data.class_splits import Split
from multistep.data.settings import Dataset
from multistep.files import UserError
from multistep.settings import Model


class Settings(Model):
    """`size`: pixels of a side; `split`: the published list, or for other data the same shares."""

    size: int = Field(ge=8)
    split: Literal["oreshkin", "proportional"]


def prepare(name: str, dataset: Dataset, raw: Path, out: Path) -> None:
    """Write the prepared set `out`. Raises UserError naming the archive or member at fault, or a
    super-class of the archive that stands in two parts.
    """
    s = Settings.model_validate(dataset.prepare)
    found = cifar_classes.read(name, dataset, raw)
    superclasses = found.superclasses()
    if s.split == "proportional":
        groups: dict[int, list[str]] = {}
        for label, superclass in sorted(superclasses.items()):
            groups.setdefault(superclass, []).append(label)
        parts = cifar_classes.divided([groups[i] for i in sorted(groups)], (12, 4, 4))
    else:
        parts = class_arrays.committed("fc100", s.split)
    _apart(parts, superclasses, name)
    cifar_classes.write(name, dataset, raw, out, found=found, parts=parts, size=s.size)


def _apart(parts: Split, superclasses: dict[str, int], name: str) -> None:
    part_of: dict[int, str] = {}
    for part, classes in parts.items():
        for label in classes:
            superclass = superclasses.get(label)
            if superclass is not None and part_of.setdefault(superclass, part) != part:
                raise UserError(
                    f"datasets.{name}: {label} of {part} has super-class {superclass} of the "
                    f"archive, which stands in {part_of[superclass]} too; get the archive again"
                )
