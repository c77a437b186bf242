"""Files that are either complete or absent: atomic writes, digests, and the error users see.

Every artefact of the project is written to a fixed temporary name beside its destination, flushed
to the disk and renamed, so a killed process never leaves half a file under a final name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class UserError(Exception):
    """A mistake that the user can mend: the message says what, where, and what to do next."""


def one_line(error: BaseException) -> str:
    """What an error of another library says, in one line of bounded length."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Hex SHA-256 of a JSON-serialisable value in canonical form (sorted keys)."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """One line of JSON with sorted keys; equal values give equal text. NaN is refused."""
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)


@contextmanager
def atomic_write(path: Path, mode: str = "wb", outdated: Path | None = None) -> Iterator[IO[Any]]:
    """Open `path` for writing so that it appears whole or not at all. A file that is `outdated` by
    it, the description of what was there, goes just before: never do the two contradict each other.

    The temporary name is fixed (`<name>.tmp`): repeated kills leave at most one stray file. Of two
    processes that write one file the second waits until the first is done, or killed. If the body
    raises (a full disk, say) the old file stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with _alone(temporary, mode) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if outdated is not None:
                    outdated.unlink(missing_ok=True)
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)  # while it is still ours alone
                raise
    except OSError as error:
        if error.errno in _FULL and error.filename is None:
            error.filename = str(path)  # of a write, nothing names the file by itself
        raise
    sync_directory(path.parent)


def _alone(path: Path, mode: str) -> IO[Any]:
    """`path` opened anew for writing, by one process at a time."""
    while True:
        file = open(  # noqa: SIM115 (closed by who asked for it)
            path, mode, encoding=None if "b" in mode else "utf-8",
            opener=lambda name, flags: os.open(name, flags & ~os.O_TRUNC, 0o666),
        )  # fmt: skip
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):  # else who had it has renamed it meanwhile
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                file.truncate(0)
                return file
        file.close()


def check_writable(path: Path) -> None:
    """Raise UserError if a file can't be made at `path`: before hours of work, not after them."""
    there = next(folder for folder in path.absolute().parents if folder.exists())
    probe = there / f"{path.name}.probe"
    try:
        probe.touch()
        probe.unlink()
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder")
    except OSError as error:
        raise UserError(
            f"{path}: can't be written ({error.strerror}); mend that, or name another place"
        ) from None


def check_folder(folder: Path, ours: Collection[str]) -> None:
    """Raise UserError if `folder` is a file, or holds anything that isn't called as `ours` are."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file is in the way; name a folder")
    known = {*ours, *(f"{name}.tmp" for name in ours)}
    for other in sorted(folder.iterdir()) if folder.exists() else ():
        if other.name not in known:
            raise UserError(
                f"{folder}: holds {other.name}, which isn't of what would be written there; name "
                "another folder"
            )


def own_path(text: str | Path, home: Path = Path()) -> Path:
    """A path as people write it: `~` is a home, and what doesn't begin with `/` lies in `home`."""
    try:
        return home / Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{text}: whose home is not known here; write the whole path") from None


def write_text(path: Path, text: str) -> None:
    """Write `text` atomically as UTF-8."""
    with atomic_write(Path(path), "w") as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as indented JSON; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def write_beside(path: Path, text: str) -> None:
    """Write what goes beside a file that was named: over nothing but what was written so before, by
    its first line. Raises UserError for another's.
    """
    head = text.partition("\n")[0]
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(head):
        raise UserError(f"{path}: in the way, and not of this command; name another --out")
    write_text(path, text)


def build_command(path: Path) -> str:
    """The command that makes a file of a project; one in `scales/` takes that scale's overlay."""
    for home in Path(path).absolute().parents:
        overlay = home.parent.parent / "workflow/scales" / f"{home.name}.yaml"
        if home.parent.name == "scales" and overlay.is_file():
            target = Path(path).absolute().relative_to(home)
            return f"snakemake --configfile workflow/scales/{overlay.name} -- {target}"
    return f"snakemake {path}"


def parse_json(text: str) -> Any:
    """JSON as its standard has it. Raises ValueError for what readers don't agree on: a key that
    stands twice in one object, of which each keeps another, and NaN and Infinity.
    """
    return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{max(keys, key=keys.count)!r} stands there more than once")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def read_json(path: Path) -> Any:
    """Read a JSON file, or say which file is unreadable and why."""
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file; build it first ({build_command(path)})") from None
    except IsADirectoryError:
        raise UserError(f"{path}: a folder; name a file") from None
    except (ValueError, RecursionError) as error:
        again = "delete it and build it again" if str(path).endswith(".json") else "name a .json"
        raise UserError(f"{path}: not valid JSON ({error}); {again}") from None


def sync_directory(directory: Path) -> None:
    """Make a rename durable (a no-op where directories can't be opened)."""
    try:
        handle = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
