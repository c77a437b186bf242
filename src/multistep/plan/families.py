"""The two halves of the paper: the settings of their cells and where their code lives."""

from __future__ import annotations

from multistep.fewshot.settings import FewShot
from multistep.transfer.settings import Transfer

# The settings of each family's cells; its code is the package of that name, see `package`.
FAMILIES: dict[str, type[FewShot] | type[Transfer]] = {"few_shot": FewShot, "transfer": Transfer}


def package(family: str) -> str:
    """The package of a family's code: its modules `run` and `measure`, its folder `methods`."""
    return f"multistep.{family.replace('_', '')}"
