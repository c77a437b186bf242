"""How an algorithm is found: by its file's name in a family's folder `algorithms`, and not listed.

A file declares one class, a subclass of its family's `Algorithm`. Snakemake reads what it declares,
so a file imports nothing at its top that imports torch, and inside its functions what it computes
with. Only the file that is named is imported: a cell depends on its own algorithm alone.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from typing import TypeVar

from multistep.files import UserError

AlgorithmT = TypeVar("AlgorithmT")


def names(folder: str) -> list[str]:
    """The algorithms of a folder, which is a package: what `algorithm:` of a method can be."""
    files = (module.name for module in pkgutil.iter_modules(sys.modules[folder].__path__))
    return sorted(name for name in files if not name.startswith("_"))


def get(folder: str, base: type[AlgorithmT], name: str) -> type[AlgorithmT]:
    """The class in the file `name`.py of a folder. Raises UserError if there is no such file."""
    if name not in names(folder):
        raise UserError(f"no algorithm named {name!r}; known: {', '.join(names(folder))}")
    module = importlib.import_module(f"{folder}.{name}")
    own = [v for v in vars(module).values() if getattr(v, "__module__", "") == module.__name__]
    found = [value for value in own if isinstance(value, type) and issubclass(value, base)]
    if len(found) != 1:
        raise TypeError(f"{module.__file__}: needs one subclass of Algorithm, has {len(found)}")
    return found[0]
