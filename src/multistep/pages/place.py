"""Where a report is written: what may be written over, and what earlier ones have left there."""

import itertools
from collections.abc import Collection, Sequence
from pathlib import Path

from multistep import kinds
from multistep.files import UserError, check_folder, read_json
from multistep.pages.cli import AUDIT, CLAIMS
from multistep.pages.record import REPORT, SUFFIXES

# Beside the site.
RECORDS = {REPORT: "the record of a report", "claims.json": CLAIMS, "audit.json": AUDIT}


def check(out: Path, names: Sequence[str]) -> None:
    """Raise UserError if what is about to be removed or written over isn't of an earlier report."""
    index = out / "site" / "index.html"
    if not (index.is_file() and "– multistep</title>" in index.read_text("utf-8", "replace")):
        parts = ("about", "audit", "claims", "coverage", "methods", "datasets")
        made = [f"{part}.html" for part in parts]
        check_folder(index.parent, (*made, "style.css", *parts[-2:], "sheets", *names))
        there = [out / name for name, kind in RECORDS.items() if not _is(out / name, kind)]
        if not (out / REPORT).exists():
            there += [out / "claims.csv", out / "frame.csv.gz"]
        if found := next((file for file in there if file.exists()), None):
            raise UserError(f"{found}: in the way, and not of a report; name another folder")
    for folder, form in itertools.product((out / name for name in names), SUFFIXES):
        for file in (folder / form).glob("*"):
            if file.suffix[1:] not in (*SUFFIXES[form], "json", "tmp"):
                raise UserError(f"{file}: in the way, and not of a report; name another folder")


def _is(path: Path, kind: str) -> bool:
    try:
        return kinds.of(read_json(path)) == kind
    except (OSError, UserError):
        return False


def left(out: Path, names: Collection[str]) -> dict[str, list[Path]]:
    """What earlier reports have made of scales that aren't among `names`, by scale. It isn't theirs
    to remove: results may be missing that are pushed elsewhere.
    """
    found: dict[str, list[Path]] = {}
    places = [*out.glob("*/tables"), *out.glob("*/figures"), *out.glob("metrics/*.json")]
    for place in (*places, *out.glob("curves/*.csv")):
        name = place.parent.name if place.is_dir() else place.stem
        if name not in names:
            found.setdefault(name, []).append(place)
    return found
