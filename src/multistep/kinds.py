"""What a JSON of this project is, by keys that no other kind has: so that one which is right, but
of another kind than is wanted, isn't taken for a damaged one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from multistep.files import UserError, check_writable, read_json

RESULT, MEASUREMENT, EVALUATION = "a result", "a measurement", "an evaluation"
CHOICE = "a choice"
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


def check_place(path: Path, kind: str) -> None:
    """Raise UserError, before any work, unless one of this `kind` can be written at `path`: as
    .json, and over nothing but one of its kind or a damaged one.
    """
    if path.suffix != ".json":
        raise UserError(f"{path}: should end in .json; what else is made lies beside it")
    check_writable(path)
    try:
        found = read_json(path) if path.exists() else None
    except UserError:  # damaged: nothing is lost with it
        return
    if found and of(found) != kind:
        raise UserError(
            f"{path}: in the way, and {of(found) or 'no such record'}; move it away, or name "
            "another place"
        )
