"""The training loop of every job: few-shot and transfer cells, and source networks.

A family's run says what one iteration is, when a stretch of iterations ends, what the history gets
of it, and what is evaluated then. The loop has the rest: the clocks, the history, checkpoints.

All that changes while a run trains is one value, `Run.state`: dictionaries of tensors and of plain
values. It is saved whole and put back whole, so nothing that a run gains can be forgotten.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from multistep.files import UserError, write_text
from multistep.job import checkpoint, device
from multistep.progress import progress, say

Entry = dict[str, Any]  # of the history


class Run:
    """One training run. A family fills in what stands below the line.

    `title` names it to people; `iterations` of them, counted in `unit`, are all. `parts`: what a
    family adds to the state. `state["stopped"]` says why a run ends before its time, if it does.
    """

    def __init__(self, title: str, unit: str, iterations: int, **parts: Any) -> None:
        self.title, self.unit, self.iterations = title, unit, iterations
        self.curve: Path | None = None
        self.device = torch.device("cpu")
        self._timed: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []  # and not yet read
        self.state: checkpoint.State = {
            "iteration": 0,
            "stopped": None,
            "history": [],
            "history_seconds": [],
            "history_process_seconds": [],
            "seconds": {"train": 0.0, "process": 0.0, "loading": 0.0, "evaluation": 0.0},
            **parts,
        }

    def train(
        self, save: checkpoint.Saver, keep: Callable[[checkpoint.State], None] | None = None
    ) -> None:
        """Iterate to the end; after every iteration it may be time to save, or to stop.

        `keep` gets the state after the last iteration, before its stretch is closed: as a longer
        run would have it. That this is left to be done is noted as `state["open"]`.
        """
        state = self.state
        begun = state["iteration"]
        if state.pop("open", False):
            with located(f"{self.title}: {self.position}"):
                self._close()
        with progress(self.title, self.iterations, self.unit, begun) as advance:
            inputs = self.inputs(begun)
            while state["iteration"] < self.iterations and state["stopped"] is None:
                with located(f"{self.title}: {self.position}"):
                    with self._clock("loading"):
                        given = next(inputs)
                    with self._clock("train"):
                        self.step(given)
                    state["iteration"] += 1
                    if keep is not None and state["iteration"] == self.iterations:
                        self._settle()
                        keep({**state, "open": True})
                    self._close()
                    advance(1)
                    if save.due:
                        self._settle()
                        save.now(state)

    @contextlib.contextmanager
    def _clock(self, what: str) -> Iterator[None]:
        """Training on a GPU is timed by events, whose seconds `_read_clock` adds: the processor is
        done with a step before the device has begun it.
        """
        seconds, events = self.state["seconds"], what == "train" and self.device.type == "cuda"
        wall, process = time.perf_counter(), time.process_time()
        if events:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
        yield
        if events:
            end.record()
            self._timed.append((begin, end))
        else:
            seconds[what] += time.perf_counter() - wall
        if what == "train":
            seconds["process"] += time.process_time() - process

    def _read_clock(self) -> None:
        """Add what events have timed; waits for the device."""
        for begin, end in self._timed:
            end.synchronize()
            self.state["seconds"]["train"] += begin.elapsed_time(end) / 1000
        self._timed.clear()

    def _settle(self) -> None:
        """Before the state is kept."""
        self.settle()
        self._read_clock()

    def _close(self) -> None:
        """End the stretch if one ends here: evaluate, and record it."""
        if not self.due():
            return
        with self._clock("train"):
            entry = self.summary()
        if entry is None:
            return
        self._read_clock()  # so evaluation begins on a device that is done
        with self._clock("evaluation"):
            self.evaluate(entry)
        seconds = self.state["seconds"]
        self.state["history"].append(entry)
        self.state["history_seconds"].append(seconds["train"])
        self.state["history_process_seconds"].append(seconds["process"])
        line = _say(self.title, entry, seconds["train"])
        if self.curve is not None:
            with self.curve.open("a", encoding="utf-8") as file:
                file.write(line)

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
            "history_process_seconds": self.state["history_process_seconds"],
            "loading_seconds": seconds["loading"],
            "evaluation_seconds": seconds["evaluation"],
        }

    # --- what a family gives ------------------------------------------------------------------

    @property
    def lengthened_by(self) -> str | None:
        """The setting that a finished run can be lengthened by; None where the number of iterations
        decides what each of them is (a learning rate that follows it).
        """
        return None

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


def to_the_end(
    run: Run, path: Path, key: str, seconds: float, where: torch.device,
    outcome: Callable[[], dict[str, Any]], longer: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train a run, from its checkpoint at `path` if there is one of this `key`; its `outcome`.

    SIGTERM, SIGINT and SIGHUP save, then leave with 128 + their number. The outcome stays at `path`
    in the state's place: what is made of it may be lost before anyone has accepted it (a scheduler
    that is killed leaves jobs behind, and deletes what they make), and is made again in no time.
    What an earlier attempt recorded is said again, since its log is deleted with what it made.

    Beside `path` each entry of the history is a line of `.jsonl`, for readers to follow; one that
    goes on begins it anew with what it goes on from, so that no entry stands there twice.

    `longer`: the key without the number of iterations. Under it the state at the end stays for good
    in a file beside `path`, and a run of more iterations (or one whose result was lost) goes on
    from there; one of fewer begins anew and leaves it.
    """
    run.device, run.curve = where, path.with_suffix(".jsonl")
    _check_curve(run.curve)
    saved, at_end = checkpoint.load(path, key), path.with_suffix(".state")
    if longer is not None and not (saved and "outcome" in saved):
        # Also where there is a checkpoint: at the end this one's state would lie over that one.
        ended = checkpoint.load(at_end, longer)
        if ended is not None and ended["iteration"] > run.iterations:
            say(f"{at_end} is at iteration {ended['iteration']} already and stays as it is")
            ended = longer = None
        saved = saved or ended
    told = saved or run.state
    pairs = zip(told["history"], told["history_seconds"], strict=True)
    write_text(run.curve, "".join([_say(run.title, *pair) for pair in pairs]))
    if saved is not None and "outcome" in saved:
        say(f"{run.title}: finished before; {path} has the outcome")
        return dict(saved["outcome"])
    if saved is not None:
        checkpoint.restore(run.state, saved, where)
        say(f"resumed at {run.position}")

    def keep(state: checkpoint.State) -> None:
        try:
            checkpoint.save(at_end, str(longer), state)
        except UserError as error:
            say(f"it can't be lengthened later: {error}")

    save = checkpoint.Saver(path, key, seconds)
    with save.on_signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        run.train(save, keep if longer is not None else None)
    save.now(run.state)
    made = outcome()
    kept = {name: run.state[name] for name in ("history", "history_seconds")}
    checkpoint.save(path, key, {"outcome": made, **kept})
    return made


def _check_curve(path: Path) -> None:
    """Raise UserError for a file of another kind where the lines of `_say` are to be written."""
    text = path.read_bytes() if path.exists() else b""
    first, whole, _ = text.partition(b"\n")  # or cut off as it was written
    if text and not (first.startswith(b"{") and (not whole or b'"seconds": ' in first)):
        raise UserError(f"{path}: in the way, and no curve of a run; name another --checkpoint")


def _say(title: str, entry: Entry, seconds: float) -> str:
    """Tell an entry of the history; the same, without its lists, as a line of JSON."""
    shown = {k: v for k, v in {**entry, "seconds": seconds}.items() if not isinstance(v, list)}
    told = (f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in shown.items())
    say(f"{title}: {' '.join(told)}")
    return json.dumps(shown) + "\n"


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Say where a mistake happened; a GPU that is too small, or fails, is one."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{where}: {error}") from None
    except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
        if (told := device.told(error)) is None:
            raise
        raise UserError(f"{where}: {told}") from None
