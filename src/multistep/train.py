"""Run one cell, from its seed to its result.

`multistep train --cell '<json>'` is what the rule `train_cell` calls. On the CPU a cell is
deterministic: one version of torch and one number of threads give the same bits, however often the
run was killed and resumed. On CUDA the episodes are the same and sums may differ in rounding.
"""

from __future__ import annotations

import argparse
import json
import signal
import time
from pathlib import Path
from typing import Any

import torch

from multistep import checkpoint, device, results
from multistep.datasets import prepared
from multistep.fewshot import evaluate, meta
from multistep.fewshot.episodes import Sampler
from multistep.fewshot.trainer import Trainer
from multistep.files import UserError
from multistep.progress import progress, say
from multistep.settings import FewShot

# Test and validation episodes are the same for every seed and method, so that they can be compared
# pairwise.
EVALUATION_SEED = 0


class Cell:
    """One training run: data, network, method, trainer, and what has been recorded so far."""

    def __init__(self, cell: dict[str, Any], data: Path, where: torch.device) -> None:
        self.cell = cell
        self.settings = s = FewShot.model_validate(cell["settings"])
        self.dataset = prepared.load(data)
        self.images = torch.from_numpy(self.dataset.images).to(where)
        self.network = meta.build_network(s, self.images.shape[-1])
        method = meta.load(cell["algorithm"])
        train = ["train"] if s.hold_out_validation else ["train", "validation"]
        sampler = self.sampler(train, "train", cell["seed"], s.rotate_train)
        # All splits now: one that is too small should not be found after hours of training.
        self.test_sampler = self.sampler(["test"], "test", EVALUATION_SEED, s.rotate_test)
        if s.hold_out_validation:
            self.validation_sampler = self.sampler(
                ["validation"], "validation", EVALUATION_SEED, s.rotate_test
            )
        self.trainer = Trainer(self.network, method, sampler, s, cell["seed"])
        self.iteration = 0
        self.history: list[dict[str, Any]] = []
        self.history_seconds: list[float] = []
        self.seconds = 0.0
        self.process_seconds = 0.0

    def sampler(self, splits: list[str], stream: str, seed: int, rotate: bool) -> Sampler:
        """Episodes from the classes of `splits`."""
        s = self.settings
        classes = [c for split in splits for c in self.dataset.splits[split]]
        images = self.images[torch.tensor(classes, device=self.images.device)]
        return Sampler(images, s.ways, s.shots, s.queries, rotate, seed, stream)

    def train(self, save: checkpoint.Saver) -> None:
        """Iterate to the end; `save` is asked after every iteration whether it is time."""
        s = self.settings
        title = "/".join(str(self.cell[k]) for k in ("experiment", "dataset", "method", "seed"))
        with progress(title, s.iterations, "iterations", self.iteration) as advance:
            while self.iteration < s.iterations:
                wall, process = time.perf_counter(), time.process_time()
                self.trainer.step(self.iteration)
                self.iteration += 1
                due = self.iteration % s.log_every == 0 or self.iteration == s.iterations
                means = self.trainer.means() if due else None
                # The clocks stop here: validation and checkpoints are not training.
                self.seconds += time.perf_counter() - wall
                self.process_seconds += time.process_time() - process
                if means is not None:
                    self._record(means)
                advance(1)
                save.maybe(self.state)

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
                self.network,
                self.trainer.theta,
                self.validation_sampler,
                s,
                episodes=s.validation_episodes,
            )
            summary = evaluate.summary(accuracies)
            entry["validation_accuracy"] = summary["test_accuracy"]
            entry["validation_ci95"] = summary["test_ci95"]
        self.history.append(entry)
        self.history_seconds.append(self.seconds)
        say(" ".join(f"{k}={_short(v)}" for k, v in entry.items()) + f" seconds={self.seconds:.1f}")

    def test(self) -> dict[str, Any]:
        """The metrics of the last iterate."""
        s = self.settings

        def run(window: int) -> list[float]:
            return evaluate.episode_accuracies(
                self.network,
                self.trainer.theta,
                self.test_sampler,
                s,
                episodes=s.test_episodes,
                window=window,
            )

        accuracies = run(s.window)
        return {
            **evaluate.summary(accuracies),
            "test_episodes": s.test_episodes,
            "episode_accuracies": accuracies,
            "iterations": self.iteration,
            "exact_adaptation": evaluate.summary(run(1)) if s.window > 1 else None,
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "iteration": self.iteration,
            "history": self.history,
            "history_seconds": self.history_seconds,
            "seconds": self.seconds,
            "process_seconds": self.process_seconds,
            "trainer": self.trainer.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.iteration = state["iteration"]
        self.history = state["history"]
        self.history_seconds = state["history_seconds"]
        self.seconds = state["seconds"]
        self.process_seconds = state["process_seconds"]
        self.trainer.restore(state["trainer"])


def run_cell(
    cell: dict[str, Any],
    data: Path,
    out: Path,
    checkpoint_path: Path,
    where: str,
    threads: int,
    checkpoint_seconds: float = 60,
) -> None:
    """Train (or resume), test, write the result, forget the checkpoint."""
    place = device.prepare(where, threads)
    with checkpoint.exclusive(checkpoint_path):
        run = Cell(cell, data, place)
        environment = device.environment(place, threads, run.dataset.digest)
        key = checkpoint.run_key(cell, run.dataset.digest, place.type, threads)
        state = checkpoint.load(checkpoint_path, key)
        if state is not None:
            run.restore(state)
            say(f"resumed at iteration {run.iteration} of {run.settings.iterations}")
        save = checkpoint.Saver(checkpoint_path, key, checkpoint_seconds)
        with save.on_signals(signal.SIGTERM, signal.SIGINT):
            run.train(save)
        save.now(run.state)
        metrics = run.test()
        timing = {
            "train_seconds": run.seconds,
            "process_seconds": run.process_seconds,
            "seconds_per_iteration": run.seconds / run.iteration,
            "history_seconds": run.history_seconds,
            "peak_bytes": device.peak_bytes(place),
        }
        record = {
            "schema": results.SCHEMA,
            "cell": cell,
            "metrics": metrics,
            "history": run.history,
            "timing": timing,
            "environment": environment,
        }
        results.write(out, record)
        checkpoint.remove(checkpoint_path)
    say(f"test accuracy {metrics['test_accuracy']:.2f} ± {metrics['test_ci95']:.2f} % → {out}")


def add_parser(subparsers: Any) -> None:
    """`multistep train`."""
    parser = subparsers.add_parser("train", help="run one cell", description=__doc__)
    parser.add_argument("--cell", required=True, help="the cell as JSON, as the plan prints it")
    parser.add_argument("--data", type=Path, help="prepared dataset (data/processed/<dataset>)")
    parser.add_argument("--out", type=Path, help="result (results/.../<seed>.json)")
    parser.add_argument("--checkpoint", type=Path, help="(scratch/results/.../<seed>.pt)")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument(
        "--checkpoint-seconds", type=float, default=60, help="between checkpoints (default 60)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Parse the cell, fill in the default paths, run it."""
    try:
        cell = json.loads(args.cell)
        results.CellRecord.model_validate(cell)
        FewShot.model_validate(cell["settings"])
        stem = "/".join(str(cell[k]) for k in ("experiment", "dataset", "method", "seed"))
        data = args.data or Path("data/processed") / cell["dataset"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--cell is not the JSON of a cell ({error!r})") from None
    out = args.out or Path(f"results/{stem}.json")
    scratch = args.checkpoint or Path(f"scratch/results/{stem}.pt")
    run_cell(cell, data, out, scratch, args.device, args.threads, args.checkpoint_seconds)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
