"""Results and measurements: one sealed JSON each, checked on write, on read and against the plan.

`cell`, `metrics` and `history` are the same for identical runs; what varies between them (time,
memory, machine) stands in `timing` and `environment`. `made_from` has the digests of the inputs and
of the code.

What guards a record, in this order: the seal sees an edit of any field; the family's record
recomputes what follows from other fields (`Sealed.facts`); `Expected`, which the plan gives, tells
the record that was asked for from another cell's, another dataset's or other settings'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from multistep import kinds, seal
from multistep.files import UserError, build_command, read_json, write_json
from multistep.job.record import (
    SCHEMA,
    TESTED_WITH,
    TRAINED,
    Choice,
    Evaluation,
    Sealed,
    name_of,
    short,
)
from multistep.plan.families import FAMILIES, module
from multistep.settings import parse


@dataclass(frozen=True)
class Expected:
    """What the plan says about a record: its cell (or definition), the digests of its inputs where
    they are known, and the choice that a cell waits for, which lacks that setting until then.
    """

    cell: Mapping[str, Any]
    dataset: str | None = None
    network: str | None = None
    choice: Mapping[str, Any] | None = None


def write(path: Path, record: Mapping[str, Any], made_from: Mapping[str, Any]) -> None:
    """Seal, validate and write a result or a measurement, whole or not at all."""
    sealed = seal.seal({"schema": SCHEMA, **record}, made_from)
    validate(path, sealed)
    write_json(path, sealed)


def again(path: Path) -> str:
    """What to do about a file that can't be used."""
    return f"{seal.AGAIN} ({build_command(path)})"


def read(path: Path, expected: Expected | None = None) -> dict[str, Any]:
    """Read a result, a measurement or an evaluation. Raises UserError, one line: which file, what
    differs, what to do; for one that isn't as it was sealed, that contradicts itself or what lies
    beside it, or that isn't `expected`.
    """
    return checked(path, read_json(path), expected)


def checked(path: Path, record: Any, expected: Expected | None = None) -> dict[str, Any]:
    """The same of what has been read of its file."""
    kinds.check(path, record, *_kinds_at(path))
    seal.check(path, record, again(path))
    validate(path, record)
    if expected is not None:
        compare(path, record, expected)
    _check_beside(path, record)
    return dict(record)


def _kinds_at(path: Path) -> Sequence[str]:
    """What can lie at a path, by the folders of a scale."""
    home, *parts = ["", *path.absolute().parts][-5:]  # of cells; of measurements one less
    if parts[:2] == ["results", "measure"]:
        return [kinds.MEASUREMENT]
    own = {"results": [kinds.RESULT], "evaluations": [kinds.EVALUATION]}
    return own.get(home, [kinds.RESULT, kinds.MEASUREMENT, kinds.EVALUATION])


def in_place(path: Path, record: dict[str, Any] | None = None) -> dict[str, Any]:
    """The same of a record that lies where its own cell's does; a copy elsewhere is refused."""
    record = read(path) if record is None else record
    own = name_of(record["cell"])
    if not path.absolute().with_suffix("").as_posix().endswith(f"/{own}"):
        raise UserError(f"{path}: it is of the cell {own}; delete it, or build it again")
    return record


def home(path: Path, record: Mapping[str, Any]) -> Path:
    """The folder of the scale that a record lies in, if it lies where its own cell's does."""
    folder = path.absolute().parents[name_of(record["cell"]).count("/")]
    return folder.parents[1] if folder.name in ("measure", "choices") else folder.parent


def _check_beside(path: Path, record: Mapping[str, Any]) -> None:
    """Raise UserError for a result beside the parameters of another run, and for an evaluation
    that was asked for with other settings than its cell's and lies in evaluations/, or beside a
    result (in results/ next to evaluations/) that has other parameters, or whose own test, on the
    same episodes, found another accuracy: further off than another machine's rounding.
    """
    from multistep.job import parameters  # it reads results

    if record.get("kind") != "evaluation":
        parameters.check(parameters.beside(path), record)
        return
    *home, folder, experiment, dataset, method, name = path.absolute().parts
    result = Path(*home, "results", experiment, dataset, method, name)
    if folder == "evaluations" and (found := otherwise(record)):
        raise UserError(
            f"{path}: evaluated with other settings than the cell's ({found}); keep it elsewhere, "
            f"or build it again ({build_command(path)})"
        )
    if folder == "evaluations" and result.is_file():
        check_tested(path, record, result, read(result))


def otherwise(record: Mapping[str, Any]) -> str:
    """The settings of an evaluation that aren't its cell's, with both values; empty if all are. (A
    candidate has none of a test.)
    """
    cell = record["cell"]["settings"]
    own = {key: cell.get(of) for key, of in TESTED_WITH.items()}
    pairs = ((key, value, own.get(key)) for key, value in record["settings"].items())
    return ", ".join(f"{k} {v:g}, not {was:g}" for k, v, was in pairs if was not in (None, v))


def check_tested(
    path: Path, record: Mapping[str, Any], result: Path, made: Mapping[str, Any]
) -> None:
    """Raise UserError if the test of parameters that a `record` has (of an evaluation, at `path`)
    isn't of those of the `result`, which was `made`, or contradicts its own test.
    """
    if made["parameters"]["digest"] != record["parameters"]:
        raise UserError(f"{path}: of other parameters than those of {result}; {again(path)}")
    settings, metrics = made["cell"]["settings"], made["metrics"]
    own = all(
        value == settings.get(TESTED_WITH.get(key)) for key, value in record["settings"].items()
    )
    tested = record["rows"][TRAINED]
    row = tested.get("together") or tested.get("test")  # on episodes, or on images
    if own and row and record["made_from"]["dataset"] == made["made_from"]["dataset"]:
        of = "images" if row.get("ci95") is None else "episodes"
        within = (row["high"] - row["low"]) / 2 if of == "images" else metrics["test_ci95"]
        if abs(row["mean"] - metrics["test_accuracy"]) > within:
            found = f"{row['mean']:.2f}% on the {of} that gave {metrics['test_accuracy']:.2f}%"
            raise UserError(f"{path}: {found} in {result}; {again(path)}")


def compare(path: Path, record: dict[str, Any], expected: Expected) -> None:
    """Raise UserError, one line, for a record that isn't what the plan says."""
    for key, found, right in _differences(record, expected):
        raise UserError(
            f"{path}: {key} is {short(found)}, but the plan says {short(right)}; delete it and "
            f"build it again ({build_command(path)})"
        )


def read_choice(path: Path, right: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a choice. `right`: what the plan says of it, as `plan.choose.definition` has it.

    Raises UserError, one line, for one that isn't as it was made, and for another's.
    """
    choice = read_json(path)
    kinds.check(path, choice, kinds.CHOICE)
    seal.check(path, choice, again(path))
    try:
        known = parse(Choice, choice, "")
    except UserError as error:
        raise UserError(f"{path}: not a choice ({error}); {again(path)}") from None
    values = [candidate.value for candidate in known.candidates]
    found = {"setting": known.setting, "values": values, "seeds": known.seeds, "cell": known.cell}
    for key, wanted in (right or {}).items():
        for where, is_, was in unequal(key, found[key], wanted):
            raise UserError(
                f"{path}: {where} is {short(is_)}, but the plan says {short(was)}; {again(path)}"
            )
    return dict(choice)


def is_candidate(record: Mapping[str, Any]) -> bool:
    """Whether a result only helps to choose a setting."""
    return bool(record["cell"].get("kind") == "candidate")


def _differences(record: dict[str, Any], expected: Expected) -> Iterator[tuple[str, Any, Any]]:
    cell = dict(record["cell"])
    right = dict(expected.cell)
    chosen = cell.pop("chosen", None)
    if chosen is not None and chosen["setting"] not in right.get("settings", {}):
        choice = chosen if expected.choice is None else expected.choice
        yield from unequal("cell.chosen", chosen, {k: choice.get(k) for k in chosen})
        right["settings"] = {**right["settings"], choice["setting"]: choice["value"]}
    yield from unequal("cell", cell, right)
    for name in ("dataset", "network"):
        if (wanted := getattr(expected, name)) is not None:
            yield from unequal(f"made_from.{name}", record["made_from"].get(name), wanted)


def unequal(where: str, found: Any, right: Any) -> Iterator[tuple[str, Any, Any]]:
    """Each key that differs, with both values."""
    if isinstance(found, Mapping) and isinstance(right, Mapping):
        for key in (*right, *(k for k in found if k not in right)):
            yield from unequal(f"{where}.{key}", found.get(key, "missing"), right.get(key, "none"))
    elif found != right:
        yield where, found, right


def validate(path: Path, record: Any) -> None:
    """Raise UserError if this isn't the record that it says it is, or contradicts itself."""
    model = _model(record)
    try:
        model.model_validate(record)
    except (ValidationError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        where, what = "the file", repr(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            where, what = ".".join(map(str, first["loc"])) or where, first["msg"]
        raise UserError(
            f"{path}: not a {model.__name__.lower()} of schema {SCHEMA}: {where}: {what}; "
            f"{seal.AGAIN}"
        ) from None


def _model(record: Any) -> type[Sealed]:
    """What a record should be by what it says itself; a few-shot result if it says nothing."""
    record = record if isinstance(record, dict) else {}
    cell = record["cell"] if isinstance(record.get("cell"), dict) else {}
    family = cell.get("family") if cell.get("family") in FAMILIES else "few_shot"
    about = record.get("kind")
    if about == "evaluation":
        return Evaluation
    if about == "measure":
        kind = "Measurement"
    elif cell.get("kind") == "candidate":
        family, kind = "few_shot", "Candidate"
    else:
        kind = "Result"
    model: type[Sealed] = getattr(module(str(family), "record"), kind)
    return model
