"""Results → one frame; tables, figures, claims, the audit."""

import importlib
from typing import Any, TypeAlias


class _WhenUsed:
    """A module that is imported when something of it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, key: str) -> Any:
        return getattr(importlib.import_module(self._name), key)


# What Snakemake reads of pages draws nothing, and costs neither of these.
pd: Any = _WhenUsed("pandas")
sns: Any = _WhenUsed("seaborn")
DataFrame: TypeAlias = Any  # pandas publishes no types
