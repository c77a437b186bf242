"""Modules that are found by their file's name and declare something: what a user may add."""

from __future__ import annotations

import importlib
import traceback
from typing import Any

from multistep.files import UserError


def imported(name: str, *needs: str, **kinds: type) -> Any:
    """The module. Raises UserError, one line, if it can't be imported or lacks one of `needs`, or a
    subclass under the names of `kinds`.
    """
    try:
        module = importlib.import_module(name)
    except (SyntaxError, NameError, AttributeError, TypeError, ModuleNotFoundError) as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        file, line = at.filename, at.lineno
        if isinstance(error, SyntaxError):
            file, line = error.filename or file, error.lineno
        raise UserError(f"{file}, line {line}: {type(error).__name__}: {error}; mend it") from error
    if lacks := [need for need in (*needs, *kinds) if not hasattr(module, need)]:
        raise UserError(f"{module.__file__}: lacks {', '.join(lacks)}; see docs/adding.md")
    for key, base in kinds.items():
        if wrong := of_another_kind(key, getattr(module, key), base):
            raise UserError(f"{module.__file__}: {wrong}")
    return module


def of_another_kind(name: str, value: object, base: type) -> str:
    """What is said of a value that should be a class derived from `base`; empty if it is one."""
    if isinstance(value, type) and issubclass(value, base):
        return ""
    return f"{name} is no {base.__module__}.{base.__name__}; derive it from that"
