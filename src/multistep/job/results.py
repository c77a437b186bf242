"""Results: one JSON per cell and per measurement, checked on write and on read.

`cell`, `metrics` and `history` are the same for identical runs; what varies between them (time,
memory, machine) stands in `timing` and `environment`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from multistep.fewshot.record import Candidate, Measurement, Result
from multistep.files import UserError, read_json, write_json
from multistep.job.record import SCHEMA, Record
from multistep.transfer.record import TransferMeasurement, TransferResult

RESULTS: dict[str, type[Record]] = {"few_shot": Result, "transfer": TransferResult}
MEASUREMENTS: dict[str, type[Record]] = {"few_shot": Measurement, "transfer": TransferMeasurement}


def write(path: Path, record: dict[str, Any]) -> None:
    """Validate and write a result or a measurement, whole or not at all."""
    _validate(path, record)
    write_json(path, record)


def read(path: Path) -> dict[str, Any]:
    """Read and validate a result or a measurement."""
    record = read_json(path)
    _validate(path, record)
    return record


def _validate(path: Path, record: Any) -> None:
    model = _model(record)
    try:
        model.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(
            f"{path}: not a {model.__name__.lower()} of schema {SCHEMA}: {where}: {first['msg']}; "
            "delete it and build it again"
        ) from None


def _model(record: Any) -> type[Record]:
    """What a record should be by what it says itself; a result if it says nothing."""
    if not isinstance(record, dict):
        return Result
    cell, metrics = record.get("cell"), record.get("metrics")
    family = cell.get("family", "few_shot") if isinstance(cell, dict) else "few_shot"
    models = MEASUREMENTS if record.get("kind") == "measure" else RESULTS
    model = models.get(str(family), Result)
    candidate = model is Result and isinstance(metrics, dict) and "diverged" in metrics
    return Candidate if candidate else model
