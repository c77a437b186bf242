"""FC100 (Oreshkin et al., 2018): CIFAR-100's classes by super-class, 12 / 4 / 4 of five each."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from multistep.data import cifar, class_splits
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
    found = cifar.read(name, dataset, raw)
    superclasses = found.superclasses()
    if s.split == "proportional":
        groups: dict[int, list[str]] = {}
        for label, superclass in sorted(superclasses.items()):
            groups.setdefault(superclass, []).append(label)
        parts = class_splits.divided([groups[i] for i in sorted(groups)], (12, 4, 4))
    else:
        parts = class_splits.committed_for("fc100", s.split, found.names, name)
    part_of: dict[int, str] = {}
    for part, classes in parts.items():
        for label in classes:
            other = part_of.setdefault(superclasses[label], part)
            if other != part:
                raise UserError(
                    f"datasets.{name}: {label} of {part} has super-class {superclasses[label]} of "
                    f"the archive, which stands in {other} too; get the archive again"
                )
    cifar.write_classes(name, dataset, raw, out, found, parts)
