"""Check every artefact of a project against its own seal and digests; name what differs.

`multistep verify` reads what lies in the folders that it is given (the project's by default, all
scales in it): archives, prepared datasets, source networks, results, choices, measurements, trained
parameters, evaluations, checkpoints, pages and reports. Whether they are what the plan asks for is
Snakemake's to say; this says whether they are as they were written; with `--remote`, whether the
objects of a DVC remote are. Nothing here imports torch.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from multistep import options, remote, seal
from multistep.data import identity, prepared
from multistep.files import UserError, read_json
from multistep.job import parameters, results
from multistep.pages import record as page
from multistep.progress import progress
from multistep.transfer import source_record as sources


def add_parser(subparsers: Any) -> None:
    """`multistep verify`."""
    parser = subparsers.add_parser("verify", help="check every artefact", description=__doc__)
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="folders or files (default: .)"
    )
    parser.add_argument(
        "--jobs", type=options.whole(), default=os.cpu_count() or 1, help="readers at a time"
    )
    parser.add_argument(
        "--remote",
        nargs="?",
        const=True,
        type=options.filled,
        metavar="NAME",
        help="every object of a DVC remote instead",
    )
    parser.add_argument(
        "--remove", action="store_true", help="what is damaged there, so that dvc push mends it"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Check them all, then tell; a UserError with a line for each that differs."""
    if args.remote is not None:
        remote.check(None if args.remote is True else args.remote, args.jobs, remove=args.remove)
        return
    if args.remove:
        raise UserError("--remove: only with --remote; files of the project are deleted by hand")
    found = [each for path in args.paths or [Path()] for each in artefacts(path)]
    if not found:
        where = ", ".join(map(str, args.paths or [Path().absolute()]))
        raise UserError(f"{where}: no artefact of a project in there; give its folder")
    wrong, unsealed, scales = [], 0, []
    title, total = "verify", len(found)
    with progress(title, total, "artefacts") as advance, ThreadPoolExecutor(args.jobs) as readers:
        for (_, file), told in zip(found, readers.map(_told, found), strict=True):
            wrong += [told] if isinstance(told, str) else []
            unsealed += told is False
            scales += [(told.home, file, told.scale)] if isinstance(told, _Of) else []
            advance(1)
    wrong += _strays(scales)
    for kind, count in sorted(Counter(kind for kind, _ in found).items()):
        print(f"{count:6,} {kind}")
    for folder in (
        file.parent for _, file in found if file.name == "claims.json" and not _drawn(file)
    ):
        print(
            f"{folder}: without {page.REPORT}, so "
            "of its site, frame, curves and metrics nothing says that they are as drawn; "
            "`multistep report site` draws them with it"
        )
    if unsealed:
        print(f"{unsealed:6,} of them have no seal, so nothing says that they are as written")
    if wrong:
        raise UserError(f"{len(wrong)} of {total} differ:\n  " + "\n  ".join(wrong))
    if unsealed < total:
        print(f"all {'others ' * bool(unsealed)}are as they were written")


def artefacts(path: Path) -> Iterator[tuple[str, Path]]:
    """(kind, file) of all that lie in a folder, hidden folders left out, or of one file, which may
    be a record that is kept elsewhere, as evaluations of a user's own are.

    Raises UserError if there is no such place.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give the project's")
    if not path.is_dir():
        kind = _kind(path) or (ELSEWHERE if path.suffix == ".json" else None)
        return iter([(kind, path)] if kind else [])
    files, seen = [], set()  # data/ may be a link to a larger disk, and links may make a circle
    for folder, inner, names in os.walk(path, True, _unreadable, True):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if (own := os.path.realpath(folder)) in seen:
            inner[:], names = [], []
        seen.add(own)
        files += [Path(folder, name) for name in sorted([*names, *inner])]  # a folder is no result
    return ((kind, file) for file in files if (kind := _kind(file)) is not None)


def _unreadable(error: OSError) -> None:
    raise UserError(f"{error.filename}: {error.strerror}; what can't be read can't be verified")


def _kind(file: Path) -> str | None:
    """What a file is by its name and place; None for what is no artefact, or part of another."""
    place = file.absolute().as_posix()
    if project := _project(file.absolute().parent):  # which may lie in /scratch, or in results/
        place = place.removeprefix(project.as_posix())
    return next((kind for kind, (like, _) in CHECKS.items() if re.fullmatch(like, place)), None)


@cache
def _project(folder: Path) -> Path | None:
    """The project that a folder lies in, if any."""
    if (folder / "params.yaml").is_file() or folder == folder.parent:
        return folder if folder != folder.parent else None
    return _project(folder.parent)


class _Of(NamedTuple):
    """Of an artefact that is as it was written: the folder of the scale that it lies in, and the
    scale that it is of.
    """

    home: Path
    scale: str


def _told(artefact: tuple[str, Path]) -> str | bool | _Of:
    """Whether it is sealed, with its scale if it says one, or what is wrong with it."""
    kind, file = artefact
    try:
        found = CHECKS.get(kind, CHECKS["other reports"])[1](file)
        if isinstance(found, dict) and kind in PLACED:
            return _Of(results.home(file, found), found["cell"]["scale"])
        if isinstance(found, page.Page):  # in reports/ of a scale, or in its folder of all reports
            folder = file.absolute().parents[1]
            return _Of(folder.parent if folder.name == "reports" else folder, found.scale)
        return found is not False
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{file}: {error.strerror}; what can't be read can't be verified"
    except (LookupError, TypeError, ValueError) as error:
        return f"{file}: not of its kind ({error!r}); {seal.AGAIN}"


def _strays(records: Iterable[tuple[Path, Path, str]]) -> list[str]:
    """A line for each record in the folder of another scale; given are the folder, the record's
    path and its scale. Whose the folder is its name tells, or else most of the records in it.
    """
    homes: dict[Path, dict[str, list[Path]]] = {}
    for folder, path, scale in records:
        homes.setdefault(folder, {}).setdefault(scale, []).append(path)
    told = []
    for folder, of in homes.items():
        named = "paper" if (folder / "params.yaml").is_file() else folder.name
        own = named if named in of else max(of, key=lambda scale: len(of[scale]))
        told += [
            f"{path}: of the scale {scale}, among what is of {own}; delete it, or move it to the "
            "folder of its own"
            for scale in of.keys() - {own}
            for path in of[scale]
        ]
    return sorted(told)


def _network(path: Path) -> None:
    # Weights may lie elsewhere: in a remote that nothing was pulled from.
    weights = path.with_name(sources.WEIGHTS).exists()
    found, _ = (sources.read if weights else sources.describe)(path.parent)
    if found.name != path.parent.name:
        raise UserError(f"{path}: of the source network {found.name}; {sources.AGAIN}")


def _page(path: Path) -> page.Page:
    found = page.read(path)
    if (own := f"{found.form}/{found.name}") != f"{path.parent.name}/{path.stem}":
        raise UserError(f"{path}: it is {own}; {page.AGAIN}")
    return found


def _checkpoint(path: Path) -> None:
    with open(path, "rb") as file:
        stated = file.readline().strip()
        if hashlib.file_digest(file, "sha256").hexdigest().encode() != stated:
            raise UserError(
                f"{path}: its bytes differ from its digest; the job begins anew without"
            )


def _report(path: Path) -> bool:
    """Claims and the audit, lists of sealed entries; metrics, which a report's record knows."""
    content = read_json(path)
    entries = content if isinstance(content, list) else [content]
    sealed = any(isinstance(entry, dict) and "seal" in entry for entry in entries)
    for entry in entries if sealed else ():
        seal.check(path, entry)
    return sealed or _drawn(path)


def _drawn(path: Path) -> bool:
    """Whether a report's record lies beside a file of it or of a folder in it."""
    return any((folder / page.REPORT).is_file() for folder in path.absolute().parents[:2])


ELSEWHERE = "records elsewhere"  # read as other reports are: by their seals alone
PLACED = ("parameters", "evaluations", "choices", "results and measurements")
# How files of a kind are called (the first that fits), and what reads one: UserError if it differs,
# False if nothing seals it.
CHECKS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "checkpoints": (r".*/scratch/.*\.(pt|state)", _checkpoint),
    "parameters": (
        r".*/results/.*\.safetensors",
        lambda path: results.in_place(path, parameters.read(path)[0]),
    ),
    "parameters elsewhere": (r".*\.safetensors", parameters.read),
    "prepared datasets": (
        r".*/dataset\.json",
        lambda path: prepared.read(path.parent, path.parent.name),
    ),
    "source networks": (rf".*/{re.escape(sources.DESCRIPTION)}", _network),
    "archives": (r".*/raw/.*@[^/]*\.json", identity.check_record),
    "evaluations": (r".*/evaluations/.*\.json", results.in_place),
    "choices": (
        r".*/results/choices/.*\.json",
        lambda path: results.in_place(path, results.read_choice(path)),
    ),
    "results and measurements": (r".*(?<!/bench)/results/.*\.json", results.in_place),
    "pages": (rf".*/reports/(.*/)?({'|'.join(page.SUFFIXES)})/[^/]*\.json", _page),
    "reports": (rf".*/reports/{re.escape(page.REPORT)}", page.check_report),
    "other reports": (r".*/reports/.*\.json", _report),
}
