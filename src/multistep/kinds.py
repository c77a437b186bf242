"""What a JSON of this project is, by keys that no other kind has: so that one which is right, but
of another kind than is wanted, isn't taken for a damaged one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from multistep.files import UserError

RESULT, MEASUREMENT, EVALUATION = "a result", "a measurement", "an evaluation"
CHOICE = "a choice"
# The first whose keys are all there; of a list those of its first entry.
KINDS: dict[str, set[str]] = {
    RESULT: {"cell", "metrics", "history"},
    MEASUREMENT: {"cell", "rows", "unit"},
    EVALUATION: {"cell", "rows", "parameters"},
    CHOICE: {"setting", "candidates", "rule"},
    "the description of a prepared dataset": {"splits", "labels"},
    "the description of a source network": {"digest", "settings", "metrics"},
    "the record of an archive": {"archive", "sha256"},
    "the record of a page": {"form", "spec", "context"},
    "the record of a report": {"kind", "files", "seal"},
    "claims with their verdicts": {"claimed", "verdict"},
    "the audit of the paper": {"certain", "inferred"},
    "the metrics of a report": {"accuracy", "claims"},
    "a plan": {"cells", "choices", "measurements"},
    "a comparison": {"only_a", "only_b"},
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
