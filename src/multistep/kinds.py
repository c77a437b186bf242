"""What a JSON of this project is, by keys that no other kind has: so that one which is right, but
of another kind than is wanted, isn't taken for a damaged one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multistep.files import UserError, check_writable, read_json

RESULT, MEASUREMENT, EVALUATION = "a result", "a measurement", "an evaluation"
CHOICE = "a choice"
NAMES = ("experiment", "dataset", "method", "seed")  # of a cell in its scale, or a measurement
# The first whose keys are all there; of a list those of its first entry. No part of this module, so
# that a new kind makes no cell stale.
KINDS: dict[str, list[str]] = read_json(Path(__file__).with_suffix(".json"))


def of(record: Any) -> str | None:
    """What it is; None for what is none of these, or lacks what such a one has."""
    first = record[0] if isinstance(record, list) and record else record
    keys = {*first} if isinstance(first, dict) else set[str]()
    return next((kind for kind, own in KINDS.items() if keys.issuperset(own)), None)


def check(path: Path, record: Any, *wanted: str) -> None:
    """Raise UserError, one line, for a record of another kind than is `wanted`. What is of no kind
    that is known passes: it may be damaged, which its reader tells.
    """
    if (kind := of(record)) not in (None, *wanted):
        raise UserError(
            f"{path}: {kind}, but {' or '.join(wanted)} is wanted here; name one, or move it away"
        )


def check_place(path: Path, kind: str, cell: Mapping[str, Any] | None = None) -> str:
    """Raise UserError, before any work, unless one of this `kind` can be written at `path`: as
    .json, and over nothing but one of its kind or a damaged one. `cell`: whose it will be; over
    another's it can't be. Returns what is to be told of one that will go; empty if none is there.
    """
    if path.suffix != ".json":
        raise UserError(f"{path}: should end in .json; what else is made lies beside it")
    check_writable(path)
    try:
        found = read_json(path) if path.exists() else None
    except UserError:  # damaged: nothing is lost with it
        return ""
    if found and of(found) != kind:
        raise in_the_way(path, f"and {of(found) or 'no such record'}")
    if found and cell is not None:
        check_own(path, found.get("cell"), cell)
    return f"{path}: {kind} is there already; what is made now will take its place" * bool(found)


def check_own(path: Path, found: Any, cell: Mapping[str, Any]) -> None:
    """Raise UserError if the cell that was `found` at a path isn't this one, whatever its settings:
    they change, and then it is made anew in its own place.
    """
    for key in ("scale", *NAMES) if isinstance(found, Mapping) else ():
        if (is_ := found.get(key)) != (own := cell.get(key)):
            raise in_the_way(path, f"of {key} {is_!r}, not {own!r}")


def check_name(path: Path, name: str) -> None:
    """Raise UserError if the description at `path` is of a dataset or network of another name."""
    try:
        found = read_json(path) if path.exists() else None
    except UserError:  # damaged
        return
    if isinstance(found, dict) and (other := found.get("name", name)) != name:
        raise in_the_way(path, f"of {other!r}, not {name!r}")


def in_the_way(path: Path, what: str) -> UserError:
    """What is said of a file that another would be written over, and `what` it is."""
    return UserError(f"{path}: in the way, {what}; move it away, or name another place")
