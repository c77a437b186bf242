"""What an algorithm is given beyond the settings that all share: its module's class `Options`.

Snakemake checks these before any job, but the modules of algorithms import torch, which takes
seconds. So the class alone is taken out of the module's source; it may use what `_NAMES` has.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from multistep.settings import Model

_NAMES = {"Model": Model, "Field": Field, "Annotated": Annotated, "Literal": Literal}


class NoOptions(Model):
    """Of an algorithm whose module has no `Options`."""


def options(module: Path) -> type[Model]:
    """The class `Options` of a module's source."""
    tree = ast.parse(module.read_text(encoding="utf-8"), str(module))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Options":
            names = dict(_NAMES)
            code = compile(ast.Module([node], []), str(module), "exec", dont_inherit=True)
            exec(code, names)
            return names["Options"]  # type: ignore[return-value]
    return NoOptions
