"""The two halves of the paper: the settings of their cells and where their code lives."""

from __future__ import annotations

import importlib
from types import ModuleType

from multistep.fewshot.settings import FewShot
from multistep.transfer.settings import Transfer

# The settings of each family's cells; its code is the package of that name, see `package`.
FAMILIES: dict[str, type[FewShot] | type[Transfer]] = {"few_shot": FewShot, "transfer": Transfer}


def algorithms(family: str) -> ModuleType:
    """The folder of a family's algorithms: its `names()` and `get(name)`."""
    return importlib.import_module(f"{package(family)}.algorithms")


def package(family: str) -> str:
    """The package of a family's code: its modules `run` and `measure`, its folder `algorithms`."""
    return f"multistep.{family.replace('_', '')}"
