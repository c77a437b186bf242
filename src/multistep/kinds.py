"""What a JSON of this project is, by keys that no other kind has: so that one which is right, but
of another kind than is wanted, isn't taken for a damaged one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from multistep.files import UserError, check_writable, read_json

RESULT, MEASUREMENT, EVALUATION = "a result", "a measurement", "an evaluation"
CHOICE, PAGE, COMPARISON = "a choice", "the record of a page", "a comparison"
CLAIMS, AUDIT = "claims with their verdicts", "the audit of the paper"
# The first whose keys are all there; of a list those of its first entry.
KINDS: dict[str, set[str]] = {
    RESULT: {"cell", "metrics", "history"},
    MEASUREMENT: {"cell", "rows", "unit"},
    EVALUATION: {"cell", "rows", "parameters"},
    CHOICE: {"setting", "candidates", "rule"},
    "the description of a prepared dataset": {"splits", "labels"},
    "the description of a source network": {"digest", "settings", "metrics"},
    "the record of an archive": {"archive", "sha256"},
    PAGE: {"form", "spec", "context"},
    "the record of a report": {"kind", "files", "seal"},
    CLAIMS: {"claimed", "verdict"},
    AUDIT: {"certain", "inferred"},
    "the metrics of a report": {"accuracy", "claims"},
    "a plan": {"cells", "choices", "measurements"},
    COMPARISON: {"only_a", "only_b"},
}


def of(record: Any) -> str | None:
    """What it is; None for what is none of these, or lacks what such a one has."""
    first = record[0] if isinstance(record, list) and record else record
    keys = {*first} if isinstance(first, dict) else set[str]()
    return next((kind for kind, own in KINDS.items() if own <= keys), None)


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
