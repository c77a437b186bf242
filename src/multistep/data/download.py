"""Fetch one archive: from a folder the user names, or from the first mirror that delivers it.

The file appears at its destination by one rename, verified and flushed to the disk. Until then
everything lives in `<destination>.part/`, which survives kills and is removed on success.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from multistep import lock
from multistep.data.identity import mismatch, write_record
from multistep.data.resume import MirrorError, Patience, Resume
from multistep.data.settings import Archive
from multistep.files import UserError, atomic_write, own_path, sha256, sync_directory
from multistep.progress import say

# A whole body with wrong bytes may be an accident on the way; twice is what the mirror holds.
_WRONG_BODIES = 2


def fetch(
    archive: Archive, destination: Path, *, dataset: str, folder: Path | None = None,
    record: Path | None = None, patience: Patience = Patience(),  # noqa: B008 (frozen)
) -> Path:  # fmt: skip
    """Put `archive` at `destination` and return it; a right file that is there already stays.

    The destination's name is the archive's; `dataset` names its entry in messages. `folder` holds
    the user's own file of that name: it is taken if its SHA-256 or its contents digest fits, and
    where none is known over one that was taken before. A wrong file at `destination` is kept
    beside, once the right one is here. Raises UserError when nothing delivers. Beside the file
    appears its `record`; of several processes that want it one fetches and the others wait.
    """
    own = folder / destination.name if folder is not None else None
    try:
        with one_writer(destination):
            if not destination.exists() or mismatch(destination, archive, own):
                _bring(archive, destination, own, dataset, patience)
            write_record(archive, destination, record, own)
    except OSError as error:
        raise UserError(
            f"{destination}: can't be written ({error}); make room or mend the folder and run "
            "again, what was received is kept"
        ) from error
    return destination


def _bring(
    archive: Archive, destination: Path, own: Path | None, dataset: str, patience: Patience
) -> None:
    """Put the archive there by way of a work folder beside it, which stays while it has a part of a
    body, or a whole one that isn't known yet to be right.
    """
    name, work = destination.name, destination.with_name(f"{destination.name}.part")
    work.mkdir(exist_ok=True)
    try:
        if own is not None:
            file = _taken(archive, own, dataset, work)
        else:
            with _one_fetch(archive, destination):
                file = _known(archive, destination, work) or _download(
                    archive, destination, dataset, work, patience
                )
                _keep(archive, file)
        if not archive.pinned:
            say(
                f"{name}: no digest of it was ever published; this one has sha256 {sha256(file)}. "
                f"Pin it in params.yaml: datasets.{dataset}.archives.{name}.sha256"
            )
        if destination.exists():  # another file there is kept beside, never lost
            kept = destination.with_name(f"{name}.{sha256(destination)[:12]}")
            os.replace(destination, kept)
            say(f"{destination}: another file was there; it is kept as {kept.name}")
        os.replace(file, destination)
        sync_directory(destination.parent)
    finally:
        if not ((work / "body").exists() or (work / name).exists()):
            shutil.rmtree(work)


def one_writer(destination: Path) -> AbstractContextManager[None]:
    """The lock of an archive's file and record."""
    busy = f"{destination.name}: another process is fetching it"
    return lock.exclusive(destination.with_name(f"{destination.name}.lock"), busy, wait=True)


def _taken(archive: Archive, own: Path, dataset: str, work: Path) -> Path:
    """The user's own file, copied to the work folder, if it is the same data."""
    entry = f"`sources: {{{dataset}: {own.parent}}}`"
    if not own.is_file():
        raise UserError(f"{own}: no such file, though {entry}; put it there or drop the entry")
    if difference := mismatch(own, archive):
        raise UserError(
            f"{own}: not the archive that params.yaml describes ({difference}); "
            f"replace the file, or drop {entry} to download it"
        )
    say(f"{own.name}: copying {own}")
    return _copy(own, work / own.name)


def _cache() -> Path | None:
    """A folder of archives by their SHA-256 that clones and users share; None without one."""
    folder = os.environ.get("MULTISTEP_CACHE")
    return own_path(folder) if folder else None


@contextmanager
def _one_fetch(archive: Archive, destination: Path) -> Iterator[None]:
    """One process at a time fetches an archive, which several datasets or users may want."""
    busy = f"{destination.name}: it is being fetched for another dataset"
    with ExitStack() as held:
        for folder in filter(None, (_cache(), _raw(destination)) if archive.sha256 else ()):
            name = folder / f"{archive.sha256}.lock"
            try:
                held.enter_context(lock.exclusive(name, busy, wait=True))
                break
            except OSError as error:  # the next is as good for all but other clones
                say(f"{folder}: no lock can be made there ({error.strerror}); going on without")
        yield


def _raw(destination: Path) -> Path | None:
    """data/raw of a project, where an archive lies in a folder of its dataset; None elsewhere."""
    raw = destination.absolute().parent.parent
    return raw if raw.name == "raw" else None


def _known(archive: Archive, destination: Path, work: Path) -> Path | None:
    """The archive in the work folder, if the cache or another dataset of the project has it."""
    if archive.sha256 is None:
        return None
    cache, raw = _cache(), _raw(destination)
    places = [cache / archive.sha256] if cache else []
    places += sorted(raw.glob(f"*/{destination.name}")) if raw else []
    for place in places:
        if place.is_file() and place != destination and mismatch(place, archive) is None:
            say(f"{destination.name}: {place} is the same archive")
            return _link(place, work / destination.name)
    return None


def _keep(archive: Archive, file: Path) -> None:
    """Put a verified archive into the cache, if there is one that lacks it or has it damaged."""
    cache = _cache()
    if cache is None or archive.sha256 is None:
        return
    kept = cache / archive.sha256
    if not kept.exists() or mismatch(kept, archive):
        try:
            cache.mkdir(parents=True, exist_ok=True)
            kept.unlink(missing_ok=True)
            _link(file, kept)
        except OSError as error:  # another user's, or full; nothing here depends on it
            say(f"{file.name}: the cache can't take it ({error}); going on without")


def _link(file: Path, to: Path) -> Path:
    """The same file under another name: a link where the file system has them, else a copy."""
    try:
        os.link(file, to)
    except OSError:
        return _copy(file, to)
    return to


def _copy(file: Path, to: Path) -> Path:
    with open(file, "rb") as reader, atomic_write(to) as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
    return to


def _download(
    archive: Archive, destination: Path, dataset: str, work: Path, patience: Patience
) -> Path:
    """The verified file in the work folder, from the first mirror that delivers it; else an error
    that lists each with its reason.
    """
    name, reasons = destination.name, []
    file, body = work / name, work / "body"
    if body.exists() and body.stat().st_size == archive.bytes:
        os.replace(body, file)
    if file.exists():  # who was stopped while it was verified doesn't receive it again
        if archive.pinned and mismatch(file, archive) is None:
            return file
        file.unlink()
    receive = Resume(body, name, archive.bytes, patience, archive.pinned)
    for url in archive.urls:
        say(f"{name}: from {url}")
        try:
            for _ in range(_WRONG_BODIES):
                receive(url, file)
                difference = mismatch(file, archive)
                if difference is None:
                    return file
                file.unlink()
                say(f"{name}: wrong bytes from {url}")
            raise MirrorError(f"delivers other bytes ({difference})")
        except MirrorError as error:
            say(f"{name}: {url} failed: {error}")
            reasons.append(f"  {url}: {error}")
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
