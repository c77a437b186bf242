"""Mistakes in params.yaml as lines for its author: the path of the key, what is wrong."""

from __future__ import annotations

import difflib
import posixpath
import reprlib
from collections.abc import Callable, Collection, Iterable
from functools import cache
from typing import Annotated, Any, get_origin

from pydantic import BaseModel, ValidationError

from multistep.files import UserError

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120


def unknown(path: str, names: Iterable[str], known: Collection[str], what: str) -> list[str]:
    """A line for each name that is not known."""
    return [
        f"{path}: no {what} named {name!r}{_closest(name, known)}"
        for name in names
        if name not in known
    ]


def check_known(path: str, names: Iterable[str], known: Collection[str], what: str) -> None:
    """Raise UserError with a line for each name that is not known."""
    if wrong := unknown(path, names, known, what):
        raise UserError("\n".join(wrong))


def explain(
    error: ValidationError, model: type[BaseModel], where: str | Callable[..., str] = "",
    known: type[BaseModel] | None = None, *, part: bool = False,
) -> list[str]:  # fmt: skip
    """One line per mistake: path, what is wrong, the closest known key.

    `where`: what stands before the path, or what makes a path of keys. `known`: a model whose
    keys are known beside those of `model`. `part`: what is missing stands elsewhere.
    """
    lines = []
    for e in error.errors():
        if part and e["type"] == "missing":
            continue
        keys = list(map(str, e["loc"]))
        if e["type"] == "extra_forbidden":
            of = [_at(each, e["loc"][:-1]) for each in (known, model) if each]
            names = {name for each in of for name in getattr(each, "model_fields", {})}
            problem = f"unknown key{_closest(str(e['loc'][-1]), names)}"
        elif e["type"] == "missing":
            problem = "missing"
        else:
            told = e["msg"].removeprefix("Value error, ")
            if not keys and e["type"] == "value_error":  # what keys say together
                lines.append(f"{where if isinstance(where, str) else ''}{told}")
                continue
            problem = f"{told[0].lower()}{told[1:]}, got {_SHORT.repr(e['input'])}"
        path = where + ".".join(keys) if isinstance(where, str) else where(*keys)
        lines.append(f"{path}: {problem}")
    return lines


def _at(model: Any, loc: tuple[int | str, ...]) -> Any:
    """The type at `loc`."""
    here = _bare(model)
    for part in loc:
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(part))
            here = field.annotation if field else None
        else:  # a mapping or a list: go on with what it holds
            here = getattr(here, "__args__", (None,))[-1]
        here = _bare(here)
    return here


def _bare(annotation: Any) -> Any:
    """A type without its metadata and without "or None"."""
    while True:
        inner = getattr(annotation, "__args__", ())
        if not inner or (get_origin(annotation) is not Annotated and type(None) not in inner):
            return annotation
        annotation = inner[0]


def near(path: str, known: Iterable[str]) -> list[str]:
    """The known paths that are most like one, name by name; of each folder one, three at most."""
    parts, alike = path.split("/"), cache(lambda a, b: difflib.SequenceMatcher(None, a, b).ratio())
    deep = [p for p in known if p.count("/") == path.count("/")]
    scores = {p: sum(map(alike, parts, p.split("/"))) for p in deep}
    most = max(scores.values(), default=0)
    found = [p for p, score in scores.items() if score > most - 0.1 and most > 0.6 * len(parts)]
    found.sort(key=lambda p: (-scores[p], p))
    return list({posixpath.dirname(p): p for p in found[::-1]}.values())[::-1][:3]


def _closest(name: str, known: Collection[str]) -> str:
    same = [one for one in known if one.lower() == name.lower().replace("-", "_")]
    match = same or difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    if match:
        return f"; did you mean {match[0]!r}?"
    return f"; known: {', '.join(sorted(set(known)))}" if known else ""
