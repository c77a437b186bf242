"""Checkpoints: a killed cell goes on where it was, and never from anything else.

A checkpoint lies outside every declared output (Snakemake deletes those when a job fails). Its
file is a hex SHA-256, a newline, and what `torch.save` wrote; the payload carries the key of the
run. A flipped byte or a checkpoint of other settings, data or code is set aside, not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from multistep import lock
from multistep.files import UserError, atomic_write, digest
from multistep.job import device
from multistep.plan import provenance
from multistep.progress import say

# Nested dictionaries of tensors and of plain values: all that changes while a run trains.
State = dict[str, Any]


def run_key(what: Any, entries: list[str], where: torch.device, threads: int) -> str:
    """Digest of all that decides the bits of a run: settings and digests of its inputs (`what`,
    JSON), the code of the modules `entries` with their imports, torch, the machine, its threads.
    """
    machine = device.identity(where)
    return digest([what, provenance.code(*entries), torch.__version__, machine, threads])


def copies(state: Any) -> Any:
    """The same value with tensors of its own."""
    return tree_map_only(Tensor, lambda t: t.detach().clone(), state)


@torch.no_grad()
def restore(state: State, saved: State, where: torch.device) -> None:
    """Make `state` equal to `saved`, in place: tensors that are there keep their place in memory,
    which others (a captured graph, a network's buffers) refer to; new ones are made on `where`.
    """
    for key in state.keys() - saved.keys():
        del state[key]
    for key, value in saved.items():
        if isinstance(value, dict) and isinstance(state.get(key), dict):
            restore(state[key], value, where)
        elif isinstance(value, Tensor) and isinstance(state.get(key), Tensor):
            state[key].copy_(value)
        else:
            state[key] = tree_map_only(Tensor, lambda t: t.to(where), value)


def save(path: Path, key: str, state: State) -> None:
    """Write the checkpoint whole or leave the old one."""
    buffer = io.BytesIO()
    torch.save({"key": key, "state": tree_map_only(Tensor, Tensor.detach, state)}, buffer)
    payload = buffer.getvalue()
    try:
        with atomic_write(path) as file:
            file.write(hashlib.sha256(payload).hexdigest().encode() + b"\n")
            file.write(payload)
    except OSError as error:
        free = shutil.disk_usage(path.parent).free
        raise UserError(
            f"{path}: the checkpoint can't be written ({error}; {free} bytes are free); the one "
            "before is intact: make room and start the cell again"
        ) from error


def load(path: Path, key: str) -> State | None:
    """The state saved under `key`, or None. What can't be used is renamed and reported; a state
    that was, for another key, comes back for its own.
    """
    state = _read(path, key)
    if state is None and (aside := _aside(path, key)).exists():
        os.replace(aside, path)
        state = _read(path, key)
    return state


def _read(path: Path, key: str) -> State | None:
    if not path.exists():
        return None
    expected, _, payload = path.read_bytes().partition(b"\n")
    if hashlib.sha256(payload).hexdigest().encode() != expected:
        damaged = path.with_name(f"{path.name}.damaged")
        _set_aside(path, damaged, "its bytes differ from its digest")
        return None
    saved = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    if saved["key"] != key:
        why = "it belongs to other settings, data, code, torch or machine"
        _set_aside(path, _aside(path, saved["key"]), why)
        return None
    state: State = saved["state"]
    return state


def _aside(path: Path, key: str) -> Path:
    """Where a state of `key` waits while others are at `path`."""
    return path.with_name(f"{path.name}.{key[:12]}.stale")


class Saver:
    """Saves a run's state every `seconds`, and once more when a signal asks the process to stop."""

    def __init__(self, path: Path, key: str, seconds: float) -> None:
        self.path, self.key, self.seconds = path, key, seconds
        self.last = time.monotonic()
        self.signal = 0

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return bool(self.signal) or time.monotonic() - self.last >= self.seconds

    def now(self, state: State) -> None:
        """Save; after a signal leave with 128 + its number, as shells do."""
        save(self.path, self.key, state)
        self.last = time.monotonic()
        if self.signal:
            print(f"signal {self.signal}: saved to {self.path}, stopping", file=sys.stderr)
            raise SystemExit(128 + self.signal)

    @contextlib.contextmanager
    def on_signals(self, *signals: int) -> Iterator[None]:
        """Note these signals instead of dying of them; a save is due then. SIGHUP that was ignored
        stays so (`nohup`).
        """

        def note(number: int, frame: FrameType | None) -> None:
            self.signal = number

        ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        wanted = [s for s in signals if not (ignored and s == signal.SIGHUP)]
        before = {s: signal.signal(s, note) for s in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def exclusive(path: Path) -> AbstractContextManager[None]:
    """One process on one checkpoint. A restarted scheduler may submit a job that runs already: the
    second one waits here, and then finds the outcome. Raises UserError for what isn't called as a
    checkpoint: a result at that place would be set aside as a damaged one.
    """
    if path.suffix != ".pt":
        raise UserError(f"{path}: a checkpoint ends in .pt; what else is kept lies beside it")
    busy = f"{path}: another process is running this cell"
    return lock.exclusive(path.with_name(path.name + ".lock"), busy, wait=True)


def _set_aside(path: Path, aside: Path, why: str) -> None:
    os.replace(path, aside)
    say(f"{path} is not used: {why}; kept as {aside}")
