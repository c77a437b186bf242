"""How an algorithm is found: by its file's name in a family's folder `algorithms`, and not listed.

A file declares one class, a subclass of its family's `Algorithm`. Snakemake reads what it declares,
so a file imports nothing at its top that imports torch, and inside its functions what it computes
with. Only the file that is named is imported: a cell depends on its own algorithm alone.
"""

from __future__ import annotations

import pkgutil
import sys
from typing import TypeVar

from multistep.declared import imported, of_another_kind
from multistep.files import UserError
from multistep.settings import Model

AlgorithmT = TypeVar("AlgorithmT")


def names(folder: str) -> list[str]:
    """The algorithms of a folder, which is a package: what `algorithm:` of a method can be."""
    files = (module.name for module in pkgutil.iter_modules(sys.modules[folder].__path__))
    return sorted(name for name in files if not name.startswith("_"))


def get(folder: str, base: type[AlgorithmT], name: str) -> type[AlgorithmT]:
    """The class in the file `name`.py of a folder. Raises UserError if there is no such file, and
    for what is wrong with what it declares.
    """
    if name not in names(folder):
        raise UserError(f"no algorithm named {name!r}; known: {', '.join(names(folder))}")
    module = imported(f"{folder}.{name}")
    own = [v for v in vars(module).values() if getattr(v, "__module__", "") == module.__name__]
    found = [value for value in own if isinstance(value, type) and issubclass(value, base)]
    wrong = f"needs one subclass of Algorithm, has {len(found)}"
    if len(found) != 1 or (wrong := _wrong(found[0])):
        raise UserError(f"{module.__file__}: {wrong}")
    return found[0]


def _wrong(kind: type) -> str:
    """What is wrong with a class; empty if nothing is."""
    if lacks := sorted(getattr(kind, "__abstractmethods__", ())):
        return f"{kind.__name__} lacks {', '.join(lacks)}; define it"
    word = "Options" if hasattr(kind, "Options") else "Settings"
    reads = getattr(kind, word)
    if wrong := of_another_kind(f"{kind.__name__}.{word}", reads, Model):
        return wrong
    given = [name for name, field in reads.model_fields.items() if not field.is_required()]
    if word == "Options" and given:
        # A cell's settings are recorded whole, of its options what params.yaml says.
        return (
            f"{kind.__name__}.Options.{given[0]} has a default, which no result would record; "
            "leave it out, and say the value in params.yaml"
        )
    return ""
