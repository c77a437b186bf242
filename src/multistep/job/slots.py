"""Names that only one process holds at a time: which of a machine's GPUs is whose."""

from __future__ import annotations

import fcntl
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_held: list[IO[str]] = []  # open lock files: a slot is ours until the process ends


def claim_slot(folder: Path, slots: int | Sequence[str]) -> str | None:
    """The first of `slots` whose lock file in `folder` is free; None if none is.

    `slots`: names, or how many numbers from 0 on. The lock lasts until the process ends, however
    it ends.
    """
    for slot in map(str, range(slots)) if isinstance(slots, int) else slots:
        # A part of a GPU may have slashes in its name: MIG-GPU-<id>/<instance>/<instance>.
        file = open(folder / slot.replace("/", "_"), "w")  # noqa: SIM115 (open until the end)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        _held.append(file)
        return slot
    return None
