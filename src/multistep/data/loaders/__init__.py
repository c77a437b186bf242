"""Loaders, one module each: the name of the module is the `loader` of a dataset.

`Settings` is what `prepare:` may say, `LAYOUT` a regular expression of what some member of its
archives is called, and `prepare(name, dataset, raw, out)` writes the prepared set.
"""

import pkgutil
import re
from collections.abc import Iterable

from multistep.declared import imported


def names() -> list[str]:
    """What `loader:` of a dataset can be."""
    return [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]


def readers(members: Iterable[str]) -> list[str]:
    """The loaders whose layout one of these members is of; any folder of images last."""
    found = list(members)
    layouts = {name: imported(f"{__name__}.{name}", "LAYOUT").LAYOUT for name in names()}
    able = [n for n, layout in layouts.items() if any(re.fullmatch(layout, m) for m in found)]
    return sorted(able, key=lambda name: name == "image_folder")
