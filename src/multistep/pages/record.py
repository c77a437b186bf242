"""A page's record, `<name>.json` beside its files: sealed, with their digests and what they show;
and the record of a whole report, `report.json`.

Readers of a page's csv need nothing of it. `check` tells the page that the plan asks for, drawn
from the records that are there, from one of other titles, printed numbers or results.
"""

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from multistep import seal
from multistep.files import UserError, read_json, sha256, write_json
from multistep.job import results
from multistep.job.record import SCHEMA, Digest, Record, name_of, short
from multistep.pages.context import Context
from multistep.pages.spec import Spec
from multistep.plan import provenance
from multistep.settings import ModelT, parse

DRAWING = ("jinja2", "matplotlib", "numpy", "pandas", "seaborn")  # whose versions can change it
SUFFIXES = {"tables": ("csv", "md", "tex", "html"), "figures": ("csv", "pdf", "png", "svg")}
AGAIN = "delete this file, and Snakemake draws the page again"
REPORT = "report.json"


class MadeFrom(Record):
    """`records`: the seal of each file that a page shows, by its name; `code`: of what drew the
    page, which the workflow compares.
    """

    records: dict[str, Digest]
    code: Digest


class Page(Record):
    """`spec`, `context`: what the page's YAML file and params.yaml say, without defaults; `files`:
    SHA-256 by suffix; `caption`: title, caption, provenance and notes of the page.
    """

    schema_: Literal[2] = Field(alias="schema")
    kind: Literal["page"]
    form: Literal["tables", "figures"]
    name: str
    scale: str
    spec: dict[str, Any]
    context: dict[str, Any]
    caption: dict[str, Any]
    files: dict[str, Digest]
    environment: dict[str, str]
    made_from: MadeFrom
    seal: Digest


class Report(Record):
    """`files`: SHA-256 of every file of a report, by its path in the report's folder."""

    schema_: Literal[2] = Field(alias="schema")
    kind: Literal["report"]
    files: dict[str, Digest]
    made_from: None
    seal: Digest


def begin(prefix: Path) -> None:
    """Before the first file of a page is written: what stands there until `write` has put its
    record in this place says that the files of a drawing that was stopped are a page's.
    """
    begun = prefix.with_name(f"{prefix.name}.json.tmp")
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.touch()


def write(
    prefix: Path,
    form: str,
    spec: Spec,
    context: Context,
    records: Sequence[dict[str, Any]],
    files: Sequence[Path],
    caption: Mapping[str, Any],
) -> Path:
    """Write the record of the page `files`, which were drawn from `records`; its path."""
    families = {r["cell"].get("family", "few_shot") for r in records if "cell" in r}
    entries = provenance.page_modules(form, spec.kind, families)
    versions = {name: metadata.version(name) for name in DRAWING}
    path = prefix.with_name(prefix.name + ".json")
    page = {
        "schema": SCHEMA,
        "kind": "page",
        "form": form,
        "name": prefix.name,
        **_asked(spec, context),
        "caption": {**caption},
        "files": {file.suffix[1:]: sha256(file) for file in files},
        "environment": {"python": platform.python_version(), **versions},
    }
    made_from = {
        "records": _digests(records),
        "code": provenance.code(*entries, alone=provenance.PAGE_COMMAND),
    }
    write_json(path, seal.seal(page, made_from))
    return path


def read(path: Path) -> Page:
    """The record at `path`, its files compared with it. Raises UserError, a line for each file that
    isn't as it was drawn.
    """
    page = _sealed(path, Page, AGAIN)
    files = {path.with_suffix(f".{s}"): page.files.get(s) for s in SUFFIXES[page.form]}
    if wrong := _differing(files, path, AGAIN):
        raise UserError("\n  ".join(wrong))
    return page


def _sealed(path: Path, model: type[ModelT], again: str) -> ModelT:
    """The record at `path`, if it is one of this kind and as it was sealed."""
    record, kind = read_json(path), model.__name__.lower()
    seal.check(path, record, again)
    try:
        return parse(model, record, "")
    except UserError as error:
        raise UserError(f"{path}: not the record of a {kind} ({error}); {again}") from None


def _differing(files: Mapping[Path, str | None], record: Path, again: str) -> list[str]:
    """A line for each file that isn't there, or hasn't the digest that its record says."""
    return [
        f"{file}: it {'differs from its digest in' if file.is_file() else 'is missing beside'} "
        f"{record.name}; {again}"
        for file, right in files.items()
        if not file.is_file() or sha256(file) != right
    ]


def check(
    path: Path, form: str, spec: Spec, context: Context, records: Sequence[dict[str, Any]]
) -> None:
    """Raise UserError, one line, unless this is the page that `spec` and `context` ask for, drawn
    from `records`.
    """
    page = read(path)
    right = {"form": form, "name": path.stem, **_asked(spec, context)}
    found = {key: getattr(page, key) for key in right}
    found["records"], right["records"] = page.made_from.records, _digests(records)
    for key, is_, was in results.unequal("", found, right):
        what = f"{key.lstrip('.')} {short(is_)}, but now it is {short(was)}"
        raise UserError(f"{path}: drawn with {what}; {AGAIN}")
    if str(found) != str(right):  # rows and columns go by the order of keys
        raise UserError(f"{path}: drawn with rows or columns in another order; {AGAIN}")


def _asked(spec: Spec, context: Context) -> dict[str, Any]:
    return {
        "scale": context.scale,
        "spec": spec.model_dump(mode="json", exclude_defaults=True),
        "context": context.model_dump(mode="json", exclude_defaults=True),
    }


def _digests(records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """By experiment/dataset/method/seed, by experiment/dataset of a measurement, by dataset."""
    names = [name_of(r["cell"]) if "cell" in r else str(r["name"]) for r in records]
    seals = [str(r["seal"]) for r in records]
    return dict(sorted(zip(names, seals, strict=True)))


def write_report(folder: Path, scales: Sequence[str]) -> None:
    """Write the record of the report in a folder, which shows these scales. Of a page it has the
    record alone, which has the digests of its files.
    """
    own = [f"{scale}/{form}/*.json" for scale in scales for form in SUFFIXES]
    own += [f"{part}.*" for name in scales for part in (f"metrics/{name}", f"curves/{name}")]
    found = [f for like in ("claims.*", "audit.*", "frame.*", *own) for f in folder.glob(like)]
    found = [f for f in (*found, *_site(folder)) if f.suffix != ".tmp"]  # what a kill has left
    files = {f.relative_to(folder).as_posix(): sha256(f) for f in found}
    report = {"schema": SCHEMA, "kind": "report", "files": dict(sorted(files.items()))}
    write_json(folder / REPORT, seal.seal(report, None))


def check_report(path: Path) -> None:
    """Raise UserError with a line for each file of a report that isn't what was drawn; `path`: of
    its record.
    """
    again = "`multistep report site` draws it again"
    files = _sealed(path, Report, again).files
    there = {path.parent / name: right for name, right in files.items()}
    wrong = _differing(there, path, again)
    more = [file for file in _site(path.parent) if file not in there]
    wrong += [f"{file}: {REPORT} doesn't name it, so no report drew it; delete it" for file in more]
    if wrong:
        raise UserError("\n  ".join(wrong))


def _site(folder: Path) -> list[Path]:
    """Every file of its site."""
    return sorted(file for file in (folder / "site").rglob("*") if file.is_file())
