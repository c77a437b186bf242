"""The two halves of the paper, by name: where their code lives and what their cells are given.

A half's code is imported when it is asked for, so that neither half's jobs depend on the other's.
"""

from __future__ import annotations

import importlib
from typing import Any

from multistep.settings import Model

FAMILIES = ("few_shot", "transfer")


def package(family: str) -> str:
    """The package of a family's code: `settings`, `checks`, `record`, `run`, `measure`, `trained`,
    `algorithms`.
    """
    return f"multistep.{family.replace('_', '')}"


def module(family: str, name: str) -> Any:
    """One of those modules, imported."""
    return importlib.import_module(f"{package(family)}.{name}")


def algorithm(family: str, name: str) -> Any:
    """The class of an algorithm."""
    return module(family, "algorithms").get(name)


def settings_of(family: str, algorithm: str, kind: str = "cell") -> type[Model]:
    """The settings of a family's cells of one kind: those that the algorithm reads."""
    model: type[Model] = module(family, "algorithms").settings_of(algorithm, kind)
    return model


def widest(family: str) -> type[Model]:
    """All settings that cells of a family can have, whatever their algorithm and kind."""
    model: type[Model] = module(family, "settings").WIDEST
    return model
