"""The training loop of every job: few-shot and transfer cells, and source networks.

A family's run says what one iteration is, when a stretch of iterations ends, what the history gets
of it, and what is evaluated then. The loop has the rest: the clocks, the history, checkpoints.

All that changes while a run trains is one value, `Run.state`: dictionaries of tensors and of plain
values. It is saved whole and put back whole, so nothing that a run gains can be forgotten.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from multistep.files import UserError
from multistep.job import checkpoint
from multistep.progress import progress, say

Entry = dict[str, Any]  # of the history


class Run:
    """One training run. A family fills in what stands below the line.

    `title` names it to people; `iterations` of them, counted in `unit`, are all. `parts`: what a
    family adds to the state. `state["stopped"]` says why a run ends before its time, if it does.
    """

    def __init__(self, title: str, unit: str, iterations: int, **parts: Any) -> None:
        self.title, self.unit, self.iterations = title, unit, iterations
        self.state: checkpoint.State = {
            "iteration": 0,
            "stopped": None,
            "history": [],
            "history_seconds": [],
            "seconds": {"train": 0.0, "process": 0.0, "loading": 0.0, "evaluation": 0.0},
            **parts,
        }

    def train(self, save: checkpoint.Saver) -> None:
        """Iterate to the end; after every iteration it may be time to save, or to stop."""
        state = self.state
        begun = state["iteration"]
        with progress(self.title, self.iterations, self.unit, begun) as advance:
            inputs = self.inputs(begun)
            while state["iteration"] < self.iterations and state["stopped"] is None:
                with located(f"{self.title}: {self.position}"):
                    with self._clock("loading"):
                        given = next(inputs)
                    with self._clock("train"):
                        self.step(given)
                        state["iteration"] += 1
                        # Reading the means waits for the device, so its work is timed as well.
                        entry = self.summary() if self.due() else None
                    if entry is not None:
                        with self._clock("evaluation"):
                            self.evaluate(entry)
                        self._record(entry)
                    advance(1)
                    if save.due:
                        self.settle()
                        save.now(state)

    @contextlib.contextmanager
    def _clock(self, what: str) -> Iterator[None]:
        seconds = self.state["seconds"]
        wall, process = time.perf_counter(), time.process_time()
        yield
        seconds[what] += time.perf_counter() - wall
        if what == "train":
            seconds["process"] += time.process_time() - process

    def _record(self, entry: Entry) -> None:
        self.state["history"].append(entry)
        self.state["history_seconds"].append(self.state["seconds"]["train"])
        shown = {k: v for k, v in entry.items() if not isinstance(v, list)}
        shown["seconds"] = self.state["seconds"]["train"]
        say(
            " ".join(
                f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in shown.items()
            )
        )

    @property
    def history(self) -> list[Entry]:
        """What was recorded of each stretch of iterations, oldest first."""
        history: list[Entry] = self.state["history"]
        return history

    def timing(self) -> dict[str, Any]:
        """Seconds of training alone; loading and evaluation beside it, not in it."""
        seconds = self.state["seconds"]
        return {
            "train_seconds": seconds["train"],
            "process_seconds": seconds["process"],
            "seconds_per_iteration": seconds["train"] / self.state["iteration"],
            "history_seconds": self.state["history_seconds"],
            "loading_seconds": seconds["loading"],
            "evaluation_seconds": seconds["evaluation"],
        }

    # --- what a family gives ------------------------------------------------------------------

    @property
    def position(self) -> str:
        """How far the run has come, for people."""
        return f"iteration {self.state['iteration']} of {self.iterations}"

    def inputs(self, begin: int) -> Iterator[Any]:
        """What the iterations get, from number `begin` on; waiting for it is no training time."""
        return itertools.count(begin)

    def step(self, given: Any) -> None:
        """One iteration."""
        raise NotImplementedError

    def due(self) -> bool:
        """Whether a stretch ends with the iteration that was just done."""
        raise NotImplementedError

    def summary(self) -> Entry | None:
        """The history's entry of the stretch, and a new stretch; UserError if it diverged."""
        raise NotImplementedError

    def evaluate(self, entry: Entry) -> None:
        """Add to the entry what is evaluated at this point."""

    def settle(self) -> None:
        """Finish what was put off, before the state is kept."""


def to_the_end(run: Run, path: Path, key: str, seconds: float, where: torch.device) -> None:
    """Train a run, from its checkpoint at `path` if there is one of this `key`; save its end.

    SIGTERM and SIGINT save, then leave with 128 + their number.
    """
    saved = checkpoint.load(path, key)
    if saved is not None:
        checkpoint.restore(run.state, saved, where)
        say(f"resumed at {run.position}")
    save = checkpoint.Saver(path, key, seconds)
    with save.on_signals(signal.SIGTERM, signal.SIGINT):
        run.train(save)
    save.now(run.state)


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Say where a mistake happened; a GPU that is too small is one."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{where}: {error}") from None
    except torch.OutOfMemoryError as error:
        reason = str(error).partition(". ")[0]
        raise UserError(
            f"{where}: {reason}; set scheme: replay, which keeps one window's activations at a time"
        ) from None
