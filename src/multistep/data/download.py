"""Fetch one archive: from a folder the user names, or from the first mirror that delivers it.

The file appears at its destination by one rename, verified and flushed to the disk. Until then
everything lives in `<destination>.part/`, which survives kills and is removed on success; of
several processes that want the same file one downloads and the others wait.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pooch

from multistep.data.archives import mismatch
from multistep.data.resume import MirrorError, Patience, Resume
from multistep.data.settings import Archive
from multistep.files import UserError, atomic_write, sha256, sync_directory
from multistep.progress import say

# A whole body with wrong bytes may be an accident on the way; twice is what the mirror holds.
_WRONG_BODIES = 2


def fetch(
    archive: Archive,
    destination: Path,
    *,
    dataset: str,
    source: Path | None = None,
    patience: Patience = Patience(),  # noqa: B008 (frozen)
) -> Path:
    """Put `archive` at `destination` and return it; a right file that is there already stays.

    The destination's name is the archive's; `dataset` names its entry in messages. `source` is a
    folder that holds a file of that name: it is taken if its SHA-256 or its contents digest fits.
    Raises UserError when nothing delivers, or when another file is in the way.
    """
    destination = Path(destination)
    if _present(archive, destination):
        return destination
    try:
        with _locked(_work(destination), destination.name) as work:
            try:
                if _present(archive, destination):  # another process brought it meanwhile
                    return destination
                if source is not None:
                    _copy(archive, destination, dataset, Path(source))
                else:
                    _download(archive, destination, dataset, work, patience)
            finally:
                if destination.exists() or not (work / "body").exists():
                    shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{destination}: can't be written ({error}); make room or mend the folder and run "
            "again, what was received is kept"
        ) from error
    return destination


def _work(destination: Path) -> Path:
    return destination.with_name(destination.name + ".part")


def _present(archive: Archive, destination: Path) -> bool:
    """Whether the archive is there; another file under its name is an error, never overwritten."""
    if not destination.exists():
        return False
    if difference := mismatch(destination, archive):
        raise UserError(
            f"{destination}: this file is not the archive that params.yaml describes "
            f"({difference}); move it away and run again"
        )
    return True


def _copy(archive: Archive, destination: Path, dataset: str, source: Path) -> None:
    """Take the user's own copy, if it is the same data."""
    entry = f"`sources: {{{dataset}: {source}}}`"
    own = source / destination.name
    if not own.is_file():
        raise UserError(f"{own}: no such file, though {entry}; put it there or drop the entry")
    if difference := mismatch(own, archive):
        raise UserError(
            f"{own}: not the archive that params.yaml describes ({difference}); "
            f"replace the file, or drop {entry} to download it"
        )
    say(f"{destination.name}: copying {own}")
    _tell_digest(archive, own, f"datasets.{dataset}.archives.{destination.name}")
    with open(own, "rb") as reader, atomic_write(destination) as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)


def _tell_digest(archive: Archive, file: Path, entry: str) -> None:
    """Of an archive that was never published with one, so that the next can be told from it."""
    if archive.unverified and not archive.sha256:
        say(
            f"{file.name}: no digest of it was ever published; this one has sha256 "
            f"{sha256(file)}. Pin it in params.yaml: {entry}.sha256"
        )


def _download(
    archive: Archive, destination: Path, dataset: str, work: Path, patience: Patience
) -> None:
    """Try the mirrors in order; the error lists each with its reason."""
    name, reasons = destination.name, []
    for url in archive.urls:
        say(f"{name}: from {url}")
        try:
            arrived = _from_mirror(url, archive, work / name, patience)
        except MirrorError as error:
            say(f"{name}: {url} failed: {error}")
            reasons.append(f"  {url}: {error}")
            continue
        _tell_digest(archive, arrived, f"datasets.{dataset}.archives.{name}")
        os.replace(arrived, destination)
        sync_directory(destination.parent)
        return
    by_hand = (
        f"put it into a folder under the name {name} and name the folder in params.yaml or an "
        f"overlay: `sources: {{{dataset}: FOLDER}}`. Expected digest: "
        f"{archive.sha256 or archive.sha1 or 'none was published'}"
    )
    if not archive.urls:
        raise UserError(
            f"{destination}: you have to bring this file, it isn't downloaded; data/README.md says "
            f"what is in it, where it comes from and on what terms. Then {by_hand}"
        )
    raise UserError(
        "\n".join([f"{destination}: no mirror delivered it", *reasons])
        + "\nRun again to try once more (what was received is kept), or get the file by other "
        f"means, {by_hand}"
    )


def _from_mirror(url: str, archive: Archive, file: Path, patience: Patience) -> Path:
    """The verified file in the work folder, or MirrorError."""
    pooch.get_logger().setLevel("WARNING")  # `say` tells the same in our words
    expected = f"sha256:{archive.sha256}" if archive.sha256 else None
    if expected is None and archive.sha1 is not None:
        expected = f"sha1:{archive.sha1}"
    downloader = Resume(file.with_name("body"), file.name, archive.bytes, patience)
    for _ in range(_WRONG_BODIES):
        try:
            pooch.retrieve(
                url,
                known_hash=expected,
                fname=file.name,
                path=file.parent,
                downloader=downloader,
            )
            return file
        except ValueError:  # pooch: the digest differs, and the bytes are gone
            say(f"{file.name}: wrong bytes from {url}")
    raise MirrorError(f"delivers other bytes (its digest is not {expected})")


@contextmanager
def _locked(work: Path, name: str) -> Iterator[Path]:
    """Hold the work folder alone.

    Its lock file goes with the folder, so a lock won on a file that is no longer there is worth
    nothing and the next one is tried.
    """
    while True:
        try:
            work.mkdir(parents=True, exist_ok=True)
            handle = open(work / "lock", "a")  # noqa: SIM115 (held beyond this block)
        except FileNotFoundError:  # the folder went between the two lines
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: another process is fetching it; waiting")
            fcntl.flock(handle, fcntl.LOCK_EX)
        if _still_at(handle.fileno(), work / "lock"):
            break
        handle.close()
    with handle:
        yield work


def _still_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
