"""Whether an archive is the one that params.yaml describes, and the record beside it of that.

Two digests identify an archive. The SHA-256 of the file is what its publisher states; the contents
digest (`multistep.data.archives`) is that of the files in it.
"""

import glob
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from multistep import seal
from multistep.data.archives import UnreadableError, contents_digest
from multistep.data.settings import Archive, Dataset
from multistep.files import UserError, digest, read_json, sha256, write_json

# A page that a server sends instead of a file.
_PAGE = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml.*?\?>\s*|<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|title|script)\b",
    re.IGNORECASE | re.DOTALL,
)
_DIGESTS = ("sha256", "sha1", "contents")


def verified_contents(name: str, dataset: Dataset, raw: Path) -> dict[str, str]:
    """The contents digest of each archive of a dataset.

    Raises UserError if one differs from what its entry in params.yaml states, or where that states
    no digest from the record beside it of what came.
    """
    found = {}
    for archive, entry in dataset.archives.items():
        path = raw / archive
        whole = entry.sha256 or entry.sha1
        pinned = (whole or entry.contents) if path.is_file() else None
        if pinned and (difference := mismatch(path, entry)):
            raise UserError(
                f"{path}: not the archive that datasets.{name} describes ({difference}); delete "
                "the file and fetch it again"
            )
        for record in () if pinned else path.parent.glob(f"{glob.escape(archive)}@*.json"):
            check_record(record)
        # Where the contents alone are pinned, their digest has just been found.
        found[archive] = contents_digest(path) if whole or not pinned else pinned
    return found


def mismatch(path: Path, archive: Archive, own: Path | None = None) -> str | None:
    """None if the file at `path` is `archive` by one of its digests, else a line with them.

    An archive that was never published with a digest (`unverified`) is taken as it comes, if it is
    one: an empty file isn't, nor a page that a server sends instead; and if the user's `own` file,
    where there is one, has the same bytes.
    """
    if not archive.pinned and archive.unverified:
        with open(path, "rb") as file:
            start = file.read(4096)
        if _PAGE.match(start):
            return "a page of HTML"
        try:
            contents_digest(path, once=True)
        except UnreadableError as error:
            return error.reason
        if archive.bytes not in (None, size := path.stat().st_size):
            return f"{size:,} bytes, where {archive.bytes:,} are stated"
        if own is not None and own.is_file() and sha256(own) != sha256(path):
            return f"{own} has other bytes"
        return None if start else "an empty file"
    differences = []
    for kind in ("sha256", "sha1"):
        if pinned := getattr(archive, kind):
            if (found := _file_digest(path, kind)) == pinned:
                return None
            differences.append(f"{kind} {found}, expected {pinned}")
            break
    if archive.contents is not None:
        try:
            found = contents_digest(path)
        except UnreadableError as error:
            return "; ".join([*differences, error.reason])
        if found == archive.contents:
            return None
        differences.append(f"contents digest {found}, expected {archive.contents}")
    return "; ".join(differences) or "no digest of it is known"


def _file_digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


# --- the record beside a file in data/raw that was found to be its archive --------------------


def record_path(archive: Archive, path: Path, own: Path | None = None) -> Path:
    """The record of the file at `path`, `<name>@<key>.json` beside it, or where it is to be made.

    A record that fits serves, whatever was added to params.yaml since it was made (the digest of
    what came, say). Where no digest is known the user's `own` file decides, which may have been
    mended. Else the key is that of what is wanted: the digests or how it is drawn, neither
    addresses nor titles. Read inside Snakemake, for which the record stands for the archive.
    """
    for file in sorted(path.parent.glob(f"{glob.escape(path.name)}@*.json")):
        if _fits(file, archive, path, own):
            return file
    wanted = archive.model_dump(include={*_DIGESTS, "drawn"}, exclude_none=True)
    file = path.with_name(f"{path.name}@{digest(wanted)[:12]}.json")
    if file.exists():  # but not, or no longer, what it says
        file = path.with_name(f"{path.name}@{sha256(file)[:12]}.json")
    return file


def check_record(record: Path) -> None:
    """Raise UserError if a record was edited, or if the file that it is of is another now."""
    about = read_json(record)
    seal.check(record, about)
    path = record.with_name(about["archive"])
    if path.exists() and sha256(path) != about["sha256"]:
        raise UserError(
            f"{path}: its bytes differ from the digest in {record.name}; delete both and fetch it "
            "again, or delete the record if the file is meant"
        )


def _fits(record: Path, archive: Archive, path: Path, own: Path | None) -> bool:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        seal.check(record, found)
        if found["drawn"] != archive.drawn or path.stat().st_size != found["bytes"]:
            return False
        pins = archive.model_dump(include=set(_DIGESTS), exclude_none=True)
        if archive.drawn is not None or any(found[kind] == pin for kind, pin in pins.items()):
            return True
        return not pins and (own is None or not own.is_file() or _same(own, found))
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return False


def _same(own: Path, found: dict[str, Any]) -> bool:
    """Whether the user's file is the one that was copied; read only if it looks otherwise."""
    stat = own.stat()
    if stat.st_size != found["bytes"]:
        return False
    # Records of before have no time of change.
    return found.get("own_time") in (None, stat.st_mtime_ns) or sha256(own) == found["sha256"]


def write_record(
    archive: Archive, path: Path, record: Path | None = None, own: Path | None = None
) -> None:
    """Say beside the file at `path` that it is `archive`, and how to know it again; `own` is the
    user's file that it was copied from.
    """
    record = record or record_path(archive, path, own)
    content = {
        "archive": path.name,
        "bytes": path.stat().st_size,
        "sha256": sha256(path),
        "sha1": _file_digest(path, "sha1") if archive.sha1 else None,
        "contents": contents_digest(path) if archive.contents else None,
        "drawn": archive.drawn,
        "own_time": own.stat().st_mtime_ns if own and own.is_file() else None,
    }
    for other in path.parent.glob(f"{glob.escape(path.name)}@*.json"):
        if other != record:
            other.unlink()
    write_json(record, seal.seal(content, None))
