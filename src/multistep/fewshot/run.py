"""One few-shot cell: meta-train, validate, test; `multistep.job.train` runs it from seed to result.

A candidate (`test_episodes: 0`) is a cell that only helps to choose a setting: it is scored on the
validation classes, never meets the test classes, and may diverge without being a mistake.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from multistep import stats
from multistep.data import prepared
from multistep.fewshot import evaluate, meta
from multistep.fewshot.episodes import Sampler
from multistep.fewshot.settings import FewShot
from multistep.fewshot.trainer import DivergedError, Trainer
from multistep.job import checkpoint
from multistep.progress import progress, say

# Test and validation episodes are the same for every seed and method, so that they can be compared
# pairwise.
EVALUATION_SEED = 0


class Run:
    """Data, network, method, trainer, and what has been recorded so far."""

    def __init__(
        self, cell: dict[str, Any], data: Path, network: Path | None, where: torch.device
    ) -> None:
        self.cell = cell
        self.settings = s = FewShot.model_validate(cell["settings"])
        self.dataset = prepared.load(data)
        self.digests = {"dataset_digest": self.dataset.digest}
        self.images = torch.from_numpy(self.dataset.images).to(where)
        self.network = meta.build_network(s, self.dataset.size, self.dataset.channels)
        self.method = meta.load(cell["algorithm"])
        train = ["train"] if s.hold_out_validation else ["train", "validation"]
        sampler = self.sampler(train, "train", cell["seed"], s.rotate_train)
        # All splits now: one that is too small should not be found after hours of training.
        self.test_sampler = self.sampler(["test"], "test", EVALUATION_SEED, s.rotate_test)
        if s.hold_out_validation:
            self.validation_sampler = self.sampler(
                ["validation"], "validation", EVALUATION_SEED, s.rotate_test
            )
        self.trainer = Trainer(self.network, self.method, sampler, s, cell["seed"])
        self.iteration = 0
        self.best: dict[str, Any] | None = None  # the validated iterate with the highest accuracy
        self.diverged: str | None = None
        self.history: list[dict[str, Any]] = []
        self.history_seconds: list[float] = []
        self.seconds = 0.0
        self.process_seconds = 0.0

    def sampler(self, splits: list[str], stream: str, seed: int, rotate: bool) -> Sampler:
        """Episodes from the classes of `splits`."""
        s = self.settings
        rows = self.dataset.rows(splits)
        return Sampler(self.images, *rows, s.ways, s.shots, s.queries, rotate, seed, stream)

    def train(self, save: checkpoint.Saver) -> None:
        """Iterate to the end; `save` is asked after every iteration whether it is time."""
        s = self.settings
        title = "/".join(str(self.cell[k]) for k in ("experiment", "dataset", "method", "seed"))
        with progress(title, s.iterations, "iterations", self.iteration) as advance:
            while self.iteration < s.iterations and self.diverged is None:
                wall, process = time.perf_counter(), time.process_time()
                self.trainer.step(self.iteration)
                self.iteration += 1
                due = self.iteration % s.log_every == 0 or self.iteration == s.iterations
                means = self._means() if due else None
                # The clocks stop here: validation and checkpoints are not training.
                self.seconds += time.perf_counter() - wall
                self.process_seconds += time.process_time() - process
                if means is not None:
                    self._record(means)
                advance(1)
                save.maybe(self.state)

    def _means(self) -> dict[str, float] | None:
        """Means since the last history entry; None where a candidate has diverged."""
        try:
            return self.trainer.means()
        except DivergedError as error:
            if self.settings.test_episodes:
                raise
            self.diverged = f"iteration {self.iteration}: {error}"
            say(self.diverged)
            return None

    def _record(self, means: dict[str, float]) -> None:
        s = self.settings
        entry: dict[str, Any] = {
            "iteration": self.iteration,
            "tasks": self.iteration * s.meta_batch,
            **means,
            "train_accuracy": 100 * means["train_accuracy"],
            "validation_accuracy": None,
            "validation_ci95": None,
        }
        due = self.iteration % s.validate_every == 0 or self.iteration == s.iterations
        if s.hold_out_validation and due:
            accuracies = evaluate.episode_accuracies(
                self.method,
                self.network,
                self.trainer.theta,
                self.validation_sampler,
                s,
                episodes=s.validation_episodes,
            )
            validation = stats.over_episodes(accuracies)
            entry["validation_accuracy"] = validation.mean
            entry["validation_ci95"] = validation.half_width
            if self.best is None or validation.mean > self.best["validation_accuracy"]:
                self.best = {
                    "iteration": self.iteration,
                    "validation_accuracy": validation.mean,
                    "validation_ci95": validation.half_width,
                    "params": [p.detach().clone() for p in self.trainer.params],
                }
        self.history.append(entry)
        self.history_seconds.append(self.seconds)
        say(" ".join(f"{k}={_short(v)}" for k, v in entry.items()) + f" seconds={self.seconds:.1f}")

    def test(self) -> dict[str, Any]:
        """The metrics of the selected iterate; of a candidate its validation accuracy alone."""
        s = self.settings
        best = None
        if self.best is not None:
            best = {key: value for key, value in self.best.items() if key != "params"}
        if not s.test_episodes:
            return {"best": best, "diverged": self.diverged}

        def run(window: int) -> list[float]:
            return evaluate.episode_accuracies(
                self.method,
                self.network,
                self.trainer.theta,
                self.test_sampler,
                s,
                episodes=s.test_episodes,
                window=window,
            )

        accuracies, last = run(s.window), None
        if s.selection == "best" and self.best is not None:
            last = evaluate.summary(accuracies)
            if self.best["iteration"] < self.iteration:  # else the last iterate is the best one
                self.trainer.load(self.best["params"])
                accuracies = run(s.window)
        return {
            **evaluate.summary(accuracies),
            "test_episodes": s.test_episodes,
            "episode_accuracies": accuracies,
            "iterations": self.iteration,
            "exact_adaptation": evaluate.summary(run(1)) if s.window > 1 else None,
            "best": best if last is not None else None,
            "last": last,
        }

    @property
    def position(self) -> str:
        return f"iteration {self.iteration} of {self.settings.iterations}"

    def timing(self) -> dict[str, Any]:
        """Seconds of training alone."""
        return {
            "train_seconds": self.seconds,
            "process_seconds": self.process_seconds,
            "seconds_per_iteration": self.seconds / self.iteration,
            "history_seconds": self.history_seconds,
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "iteration": self.iteration,
            "best": self.best,
            "diverged": self.diverged,
            "history": self.history,
            "history_seconds": self.history_seconds,
            "seconds": self.seconds,
            "process_seconds": self.process_seconds,
            "trainer": self.trainer.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.iteration = state["iteration"]
        self.best = state["best"]
        self.diverged = state["diverged"]
        self.history = state["history"]
        self.history_seconds = state["history_seconds"]
        self.seconds = state["seconds"]
        self.process_seconds = state["process_seconds"]
        self.trainer.restore(state["trainer"])


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
