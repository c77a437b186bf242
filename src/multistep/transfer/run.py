"""One meta-transfer cell: epochs of mini-batches, the best epoch by validation, its test accuracy.

Section 5.1 and appendices D and E. `multistep.job.train` runs it from seed to result. Each epoch
ends with the accuracy on the validation and the test part; the first epoch with the best validation
accuracy is the one that is reported, and test labels choose nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from multistep.data import image_sets
from multistep.files import UserError
from multistep.job import checkpoint
from multistep.networks.build import build
from multistep.progress import progress, say
from multistep.transfer import sources
from multistep.transfer.batches import Batches, count_correct
from multistep.transfer.epoch import Means
from multistep.transfer.learner import Learner
from multistep.transfer.settings import Transfer


class Run:
    """Data, networks, learner, and what has been recorded so far."""

    def __init__(
        self, cell: dict[str, Any], data: Path, network: Path | None, where: torch.device
    ) -> None:
        self.cell = cell
        self.settings = s = Transfer.model_validate(cell["settings"])
        images = image_sets.load(data)
        self.batches = Batches(images, "train", s, where, cell["seed"])
        self.learner, network_digest = learner(
            s, cell["algorithm"], len(images.classes), network, cell["seed"], where
        )
        self.digests = {"dataset_digest": images.digest, "network_digest": network_digest}
        self.test_images = len(images.splits["test"])
        self.where = where
        self.epoch = 0
        self.batch = 0  # mini-batches of this epoch that are done
        self.means = Means(s.log_every)
        self.history: list[dict[str, Any]] = []
        self.history_seconds: list[float] = []
        self.seconds = self.process_seconds = self.evaluation_seconds = 0.0

    @property
    def position(self) -> str:
        return f"epoch {self.epoch} of {self.settings.epochs}, mini-batch {self.batch}"

    def train(self, save: checkpoint.Saver) -> None:
        """All epochs; `save` is asked after every mini-batch whether it is time."""
        title = "/".join(str(self.cell[k]) for k in ("experiment", "dataset", "method", "seed"))
        per_epoch = len(self.batches)
        total, done = self.settings.epochs * per_epoch, self.epoch * per_epoch + self.batch
        with progress(title, total, "mini-batches", done) as advance:
            while self.epoch < self.settings.epochs:
                lr = rate(self.settings, self.epoch)
                for x, y in self.batches.epoch(self.epoch, self.batch):
                    wall, process = time.perf_counter(), time.process_time()
                    with located(f"{title}: {self.position}"):
                        self.means.add(self.learner.step(x, y, lr))
                    self.batch += 1
                    if self.batch == per_epoch and self.where.type == "cuda":
                        torch.cuda.synchronize()
                    self.seconds += time.perf_counter() - wall
                    self.process_seconds += time.process_time() - process
                    advance(1)
                    save.maybe(self.state)
                with located(f"{title}: {self.position}"):
                    self.learner.settle()
                    self._close_epoch(lr)
                save.maybe(self.state)

    def _close_epoch(self, lr: float) -> None:
        begin = time.perf_counter()
        accuracy = {part: self._accuracy(part) for part in ("validation", "test")}
        self.evaluation_seconds += time.perf_counter() - begin
        iterations = (self.epoch + 1) * len(self.batches)
        entry = {
            "epoch": self.epoch,
            "iterations": iterations,
            "lr": lr,
            **self.means.close(iterations),
            "validation_accuracy": accuracy["validation"],
            "test_accuracy": accuracy["test"],
        }
        self.history.append(entry)
        self.history_seconds.append(self.seconds)
        self.epoch, self.batch = self.epoch + 1, 0
        shown = {k: v for k, v in entry.items() if not isinstance(v, list)}
        say(" ".join(f"{k}={_short(v)}" for k, v in shown.items()) + f" seconds={self.seconds:.1f}")

    def _accuracy(self, part: str) -> float:
        correct, count = count_correct(self.learner.logits, self.batches.evaluation(part))
        return 100 * correct / count

    def test(self) -> dict[str, Any]:
        """Test accuracy at the first epoch with the best validation accuracy."""
        best = max(self.history, key=lambda entry: entry["validation_accuracy"])
        return {
            "test_accuracy": best["test_accuracy"],
            "validation_accuracy": best["validation_accuracy"],
            "best_epoch": best["epoch"],
            "last_test_accuracy": self.history[-1]["test_accuracy"],
            "epochs": self.epoch,
            "train_images": self.batches.count,
            "test_images": self.test_images,
        }

    def timing(self) -> dict[str, Any]:
        """Seconds of training; loading and evaluation beside it, not in it."""
        return {
            "train_seconds": self.seconds,
            "process_seconds": self.process_seconds,
            "seconds_per_iteration": self.seconds / self.history[-1]["iterations"],
            "history_seconds": self.history_seconds,
            "loading_seconds": self.batches.waited,
            "evaluation_seconds": self.evaluation_seconds,
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "means": self.means.state(),
            "history": self.history,
            "history_seconds": self.history_seconds,
            "seconds": self.seconds,
            "process_seconds": self.process_seconds,
            "evaluation_seconds": self.evaluation_seconds,
            "waited": self.batches.waited,
            "learner": self.learner.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.means.restore(state["means"])
        self.learner.restore(state["learner"])
        self.batches.waited = state["waited"]
        for name in ("epoch", "batch", "history", "history_seconds"):
            setattr(self, name, state[name])
        for name in ("seconds", "process_seconds", "evaluation_seconds"):
            setattr(self, name, state[name])


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Say where a mistake happened; a GPU that is too small is one."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except torch.OutOfMemoryError as error:
        reason = str(error).partition(". ")[0]
        raise UserError(
            f"{where}: {reason}; set transfer.scheme: replay, which keeps one step's activations "
            "at a time"
        ) from None


def learner(
    s: Transfer,
    algorithm: str,
    classes: int,
    network: Path | None,
    seed: int,
    where: torch.device,
) -> tuple[Learner, str | None]:
    """The learner of a cell and the digest of its source network (None for scratch)."""
    method = importlib.import_module(f"multistep.transfer.algorithms.{algorithm}")
    source, digest = None, None
    if algorithm != "scratch":
        if network is None:
            raise UserError("--network: the folder of the source network is missing")
        source, digest, _ = sources.open_network(network)
    generator = torch.Generator().manual_seed(seed)
    target = build(s.target, classes, generator)
    return Learner(source, target, method, s, seed, where), digest


def rate(s: Transfer, epoch: int) -> float:
    """The learning rate of an epoch (from 0): cosine to zero, eq. 55 with its missing η₀."""
    return s.lr / 2 * (1 + math.cos(math.pi * (epoch + s.schedule_offset) / s.epochs))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
