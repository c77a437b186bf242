"""One few-shot cell: meta-train, validate, test; `multistep.job.train` runs it from seed to result.

A candidate is a cell that only helps to choose a setting: it is scored on the validation classes,
never meets the test classes, and may diverge without being a mistake.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multistep import stats
from multistep.data import prepared
from multistep.fewshot import algorithms, evaluate
from multistep.fewshot.episodes import Sampler
from multistep.fewshot.settings import Tested
from multistep.fewshot.trainer import DivergedError, Trainer
from multistep.job import loop
from multistep.job.record import name_of
from multistep.progress import say

# Test and validation episodes are the same for every seed and method, so that they can be compared
# pairwise.
EVALUATION_SEED = 0


class Run(loop.Run):
    """Data, network, method and trainer of a cell.

    `state["best"]`: the validated iterate with the highest accuracy, with its θ.
    """

    def __init__(
        self, cell: dict[str, Any], data: Path, network: Path | None, where: torch.device
    ) -> None:
        self.algorithm = algorithms.create(cell["algorithm"], cell["settings"], cell["kind"])
        self.settings = s = self.algorithm.settings
        dataset = prepared.read(data, cell["dataset"], cell["data"])
        self.made_from: dict[str, str | None] = {"dataset": dataset.digest, "network": None}
        images = torch.from_numpy(dataset.images).to(where)
        self.built_with = {"size": dataset.size, "channels": dataset.channels}
        train = ["train"] if s.hold_out_validation else ["train", "validation"]
        self.trainer = Trainer.of(self.algorithm, dataset, images, train, cell["seed"])
        self.network = self.trainer.network

        def held_out(part: str) -> Sampler:
            return Sampler.of(dataset, images, s, [part], part, EVALUATION_SEED)

        # All parts now: one that is too small should not be found after hours of training.
        self.test_sampler = held_out("test")
        if s.hold_out_validation:
            self.validation_sampler = held_out("validation")
        # And one episode of the training classes is tested: an algorithm that can't adapt, too.
        self._accuracies(self.trainer.sampler, 1, s.window)
        super().__init__(
            name_of(cell), "iterations", s.iterations, best=None, trainer=self.trainer.state
        )

    @property
    def lengthened_by(self) -> str | None:
        """Raising `iterations` changes nothing of the iterations before, if the rate stays."""
        return "iterations" if self.settings.meta_schedule == "constant" else None

    def step(self, given: int) -> None:
        self.trainer.step(given)

    def due(self) -> bool:
        """Every `log_every` iterations and at the end."""
        return self._every(self.settings.log_every)

    def _every(self, count: int) -> bool:
        return self.state["iteration"] % count == 0 or self.state["iteration"] == self.iterations

    def summary(self) -> loop.Entry | None:
        """Means since the last entry; a candidate that has diverged ends without one."""
        try:
            means = self.trainer.means()
        except DivergedError as error:
            if isinstance(self.settings, Tested):
                raise
            self.state["stopped"] = f"iteration {self.state['iteration']}: {error}"
            say(self.state["stopped"])
            return None
        return {
            "iteration": self.state["iteration"],
            "tasks": self.state["iteration"] * self.settings.meta_batch,
            **means,
            "train_accuracy": 100 * means["train_accuracy"],
            "validation_accuracy": None,
            "validation_ci95": None,
        }

    def evaluate(self, entry: loop.Entry) -> None:
        """Validation where it is due; the best iterate so far is kept."""
        s = self.settings
        if not s.hold_out_validation or not self._every(s.validate_every):
            return
        found = stats.over_episodes(
            self._accuracies(self.validation_sampler, s.validation_episodes, s.window)[0]
        )
        entry["validation_accuracy"], entry["validation_ci95"] = found.mean, found.half_width
        best = self.state["best"]
        if best is None or found.mean > best["validation_accuracy"]:
            kept = ("iteration", "validation_accuracy", "validation_ci95")
            theta = {name: p.clone() for name, p in self.trainer.iterate.items()}
            self.state["best"] = {**{k: entry[k] for k in kept}, "theta": theta}

    def _accuracies(self, sampler: Sampler, episodes: int, window: int) -> tuple[list[float], int]:
        return evaluate.episode_accuracies(
            self.algorithm, self.network, self.trainer.theta, sampler, episodes=episodes,
            window=window,
        )  # fmt: skip

    def test(self) -> dict[str, Any]:
        """The metrics of the selected iterate; of a candidate its validation accuracy alone."""
        s, best, last = self.settings, self.state["best"], None
        told = None if best is None else {k: v for k, v in best.items() if k != "theta"}
        if not isinstance(s, Tested):
            if best is not None:
                self.trainer.load(best["theta"])
            return {"best": told, "diverged": self.state["stopped"]}
        accuracies, non_finite = self._accuracies(self.test_sampler, s.test_episodes, s.window)
        if s.selection == "best" and best is not None:
            last = evaluate.summary(accuracies)
            if best["iteration"] < self.iterations:  # else the last iterate is the best one
                self.trainer.load(best["theta"])
                tested = self._accuracies(self.test_sampler, s.test_episodes, s.window)
                accuracies, non_finite = tested
        exact = None
        if s.window > 1:
            exact = evaluate.summary(self._accuracies(self.test_sampler, s.test_episodes, 1)[0])
        return {
            **evaluate.summary(accuracies),
            "test_episodes": s.test_episodes,
            "episode_accuracies": accuracies,
            "non_finite_episodes": non_finite,
            "iterations": self.iterations,
            "exact_adaptation": exact,
            "best": told if last is not None else None,
            "last": last,
        }

    def parameters(self) -> dict[str, Tensor]:
        """Of the iterate that was tested, by the names of `networks.conv4.Conv4`, and what the
        algorithm has beside them as `carried.*` and `learned.*`; of a candidate those of its best
        one, of the last if none was validated.
        """
        theta = self.trainer.theta
        own = {"carried": theta.carried, "learned": theta.learned}
        beside = {f"{of}.{name}": p for of, ps in own.items() for name, p in ps.items()}
        return self.network.unpack(theta.adapted, theta.shared) | beside
