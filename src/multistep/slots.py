"""Numbers that only one process holds at a time: which of a machine's GPUs is whose."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

_held: list[IO[str]] = []  # open lock files: a slot is ours until the process ends


def claim_slot(folder: Path, count: int) -> int | None:
    """The first number below `count` whose lock file in `folder` is free; None if none is.

    The lock lasts until the process ends, however it ends.
    """
    for slot in range(count):
        file = open(folder / str(slot), "w")  # noqa: SIM115 (open until the process ends)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        _held.append(file)
        return slot
    return None
