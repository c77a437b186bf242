"""One writer at a time for what several processes may write; also where locks aren't supported."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from multistep.files import UserError
from multistep.progress import say

# What file systems answer that have no such locks (some network ones).
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


@contextmanager
def exclusive(path: Path, busy: str, *, wait: bool) -> Iterator[None]:
    """Hold the lock file `path` alone; it is gone afterwards, with folders made for it that stay
    empty, and a killed process holds nothing.

    `busy` says what another process is doing that holds it: with `wait` that is told and waited
    for, else it is a UserError. Where the file system has no locks, that is said and the work goes
    on. Raises OSError where the file can't be made.
    """
    new = [folder for folder in path.parents if not folder.exists()]
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = open(path, "a")  # noqa: SIM115 (held beyond this block)
        except FileNotFoundError:  # the folder went between the two lines
            continue
        except PermissionError:
            if not path.exists():
                raise
            handle = open(path)  # noqa: SIM115 (another user's can be held all the same)
        try:
            acquire(handle, busy, wait=wait)
            # A lock won on a file that its last holder has removed is worth nothing.
            if _still_at(handle, path):
                break
        except BaseException:
            handle.close()
            raise
        handle.close()
    try:
        yield
    finally:
        if _still_at(handle, path):
            with suppress(PermissionError):  # another user's, in a folder that keeps them apart
                path.unlink()
        handle.close()
        with suppress(OSError):
            for folder in new:  # empty ones, where nothing came of it
                folder.rmdir()


def acquire(handle: IO[str], busy: str, *, wait: bool, shared: bool = False) -> None:
    """Lock an open file until it is closed, as `exclusive` says; `shared`: with others so."""
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            raise UserError(f"{busy}; wait for it or stop it first") from None
        say(f"{busy}; waiting")
        fcntl.flock(handle, how)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        say(
            f"{handle.name}: this file system has no locks ({error.strerror}); going on, see to it "
            "that nothing else writes there"
        )


def _still_at(handle: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
