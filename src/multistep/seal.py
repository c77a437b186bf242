"""The seal of a record: a digest of its content, so that what was edited isn't taken for made.

Every record that another step reads carries one (of archives, prepared data, source networks,
results, measurements, choices, trained parameters, evaluations, pages, reports), beside
`made_from`: digests of its inputs and code. A seal is no signature. It tells an edited, damaged or
half-written record from the one that the program wrote; whether it is the record that a reader
expects is what `made_from`, settings and digests are compared for. Nothing here imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multistep.files import UserError, digest

AGAIN = "delete it and build it again"
SCHEMA = 2  # of all that is written; what has a higher one was written by a later version


def seal(record: Mapping[str, Any], made_from: Mapping[str, Any] | None) -> dict[str, Any]:
    """`record` as JSON will give it back, with `made_from` and `seal`, its last keys.

    `seal`: hex SHA-256 of the canonical JSON of everything else, `made_from` included. Sealing
    again replaces both. Raises ValueError for what JSON can't hold, NaN and infinity included.
    """
    body = {k: v for k, v in record.items() if k not in ("made_from", "seal")}
    content: dict[str, Any] = json.loads(
        json.dumps({**body, "made_from": made_from}, allow_nan=False)
    )
    return {**content, "seal": digest(content)}


def check(path: Path | str, record: Any, again: str = AGAIN) -> None:
    """Raise UserError, one line, if `record` (what `path` holds) isn't as it was sealed.

    `again`: what the reader has to do to get a good one.
    """
    if not isinstance(record, dict) or "seal" not in record:
        raise UserError(
            f"{path}: it has no seal, so nothing says that it is as it was written; {again}"
        )
    schema = record.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise UserError(
            f"{path}: of schema {schema}, and this version reads up to {SCHEMA}; use the newer "
            "version that wrote it"
        )
    content = {k: v for k, v in record.items() if k != "seal"}
    try:
        found = digest(content)
    except ValueError:  # NaN or infinity, which Python reads and no sealed file holds
        found = None
    if record["seal"] != found:
        raise UserError(
            f"{path}: its content differs from its seal (it was edited or damaged); {again}"
        )
