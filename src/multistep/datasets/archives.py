"""What is in an archive, and whether it is the one that params.yaml describes.

Two digests identify an archive. The SHA-256 of the file is what its publisher states. The *contents
digest* covers the members alone, so that a zip that somebody unpacked and packed again, which holds
the same images under the same names, still counts as the same data.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from multistep.files import UserError, sha256
from multistep.settings import Archive


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (path in the zip, bytes) of every file in it; a damaged zip is named with the cause."""
    again = "delete it and run the download again"
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.is_dir():
                    continue
                try:
                    yield member.filename, archive.read(member)
                except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
                    raise UserError(
                        f"{path}: {member.filename} is damaged ({error}); {again}"
                    ) from error
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; download it first") from None
    except zipfile.BadZipFile as error:
        raise UserError(f"{path}: truncated, or not a zip ({error}); {again}") from error


def contents_digest(path: Path) -> str:
    r"""SHA-256 over the sorted lines "<member>\0<sha256 of its bytes>\n", folders left out."""
    lines = sorted(f"{name}\0{hashlib.sha256(data).hexdigest()}\n" for name, data in members(path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def mismatch(path: Path, archive: Archive) -> str | None:
    """None if the file at `path` is `archive` by either digest, else a line with the digests."""
    found = sha256(path)
    if found == archive.sha256:
        return None
    difference = f"sha256 {found}, expected {archive.sha256}"
    if archive.contents is None:
        return difference
    try:
        inside = contents_digest(path)
    except UserError as error:
        return f"{difference}; {error}"
    if inside == archive.contents:
        return None
    return f"{difference}; contents digest {inside}, expected {archive.contents}"
