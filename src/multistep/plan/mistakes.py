"""Mistakes in params.yaml as lines for its author: the path of the key, what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError


def unknown(path: str, names: Iterable[str], known: Collection[str], what: str) -> list[str]:
    """A line for each name that is not known."""
    return [
        f"{path}: no {what} named {name!r}{_closest(name, known)}"
        for name in names
        if name not in known
    ]


def explain(
    error: ValidationError, model: type[BaseModel], prefix: str = "", *, missing: bool = True
) -> list[str]:
    """One line per mistake: path, what is wrong, the closest known key."""
    lines = []
    for e in error.errors():
        keys, here = _walk(model, e["loc"])
        path = ".".join(keys)
        if e["type"] == "extra_forbidden":
            _, holder = _walk(model, e["loc"][:-1])
            known = getattr(holder, "model_fields", {})
            problem = f"unknown key{_closest(str(e['loc'][-1]), known)}"
        elif e["type"] == "missing":
            if not missing:
                continue
            problem = "missing"
        elif e["type"].startswith("union_tag_"):
            kinds = ", ".join(sorted(_kinds(here)))
            path += ".kind" if path else "kind"
            problem = f"should be one of {kinds}, got {e['input'].get('kind')!r}"
        else:
            problem = f"{e['msg'][0].lower()}{e['msg'][1:]}, got {e['input']!r}"
        lines.append(f"{prefix}{path}: {problem}")
    return lines


def _walk(model: Any, loc: tuple[int | str, ...]) -> tuple[list[str], Any]:
    """The keys that lead to `loc`, and the type there.

    In a union by `kind`, pydantic's `loc` also has the kind; that is no key.
    """
    keys: list[str] = []
    here = _bare(model)
    for part in loc:
        if kinds := _kinds(here):
            here = kinds.get(str(part))
            continue
        keys.append(str(part))
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(part))
            here = field.annotation if field else None
        else:  # a mapping or a list: go on with what it holds
            here = getattr(here, "__args__", (None,))[-1]
        here = _bare(here)
    return keys, here


def _bare(annotation: Any) -> Any:
    """A type without its metadata and without "or None"."""
    while True:
        inner = getattr(annotation, "__args__", ())
        if not inner or (get_origin(annotation) is not Annotated and type(None) not in inner):
            return annotation
        annotation = inner[0]


def _kinds(annotation: Any) -> dict[str, type[BaseModel]]:
    """The models of a union by their `kind`; none if it isn't such a union."""
    if get_origin(annotation) not in (Union, UnionType):
        return {}
    return {get_args(m.model_fields["kind"].annotation)[0]: m for m in get_args(annotation)}


def _closest(name: str, known: Collection[str]) -> str:
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    if match:
        return f"; did you mean {match[0]!r}?"
    return f"; known: {', '.join(sorted(known))}" if known else ""
