"""One meta-transfer cell: epochs of mini-batches, the best epoch by validation, its test accuracy.

Section 5.1 and appendices D and E. `multistep.job.train` runs it from seed to result. Each epoch
ends with the accuracy on the validation and the test part; the first epoch with the best validation
accuracy is the one that is reported, and test labels choose nothing.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multistep.data import prepared
from multistep.files import UserError
from multistep.job import checkpoint, loop
from multistep.job.record import name_of
from multistep.networks.build import build
from multistep.transfer import algorithms, sources
from multistep.transfer.batches import Batch, Batches, count_correct
from multistep.transfer.epoch import EpochRun, Means
from multistep.transfer.learner import Learner
from multistep.transfer.record import rate
from multistep.transfer.settings import Transfer


class Run(EpochRun):
    """Data, networks and learner of a cell.

    `state["best"]`: the first epoch with the highest validation accuracy, with its tensors.
    """

    def __init__(
        self, cell: dict[str, Any], data: Path, network: Path | None, where: torch.device
    ) -> None:
        algorithm = algorithms.create(cell["algorithm"], cell["settings"])
        self.settings = s = algorithm.settings
        images = prepared.read(data, cell["dataset"], cell["data"])
        self.learner, network_digest = learner(
            algorithm, len(images.classes), network, cell["seed"], where
        )
        self.made_from: dict[str, str | None] = {
            "dataset": images.digest,
            "network": network_digest,
        }
        self.built_with = {"classes": len(images.classes)}
        self.test_images = len(images.splits["test"])
        self.means = Means(s.log_every if isinstance(s, Transfer) else 1)
        super().__init__(
            name_of(cell), s.epochs, Batches(images, "train", s, where, cell["seed"]), s.target,
            learner=self.learner.state, means=self.means.state, best=None,
        )  # fmt: skip

    def rate(self, epoch: int) -> float:
        s = self.settings
        return rate(s.lr, s.schedule_offset, s.epochs, epoch)

    def step(self, given: Batch) -> None:
        self.means.add(self.learner.step(*given, self.rate(self.epoch)))

    def settle(self) -> None:
        """Refuse what is not finite before it is kept."""
        self.learner.settle()

    def summary(self) -> loop.Entry:
        """Means over the epoch that ends."""
        self.settle()
        iterations = self.state["iteration"]
        epoch = self.epoch - 1
        head = {"epoch": epoch, "iterations": iterations, "lr": self.rate(epoch)}
        return head | self.means.close(iterations)

    def evaluate(self, entry: loop.Entry) -> None:
        """Accuracy in percent on both parts; the tensors of the best epoch so far are kept."""
        for part in ("validation", "test"):
            correct, count = count_correct(self.learner.logits, self.batches.evaluation(part))
            entry[f"{part}_accuracy"] = 100 * correct / count
        accuracy, best = entry["validation_accuracy"], self.state["best"]
        if best is None or accuracy > best["validation_accuracy"]:
            tensors = checkpoint.copies(self.learner.parameters())
            self.state["best"] = {"validation_accuracy": accuracy, "tensors": tensors}

    def test(self) -> dict[str, Any]:
        """Test accuracy at the first epoch with the best validation accuracy."""
        best = max(self.history, key=lambda entry: float(entry["validation_accuracy"]))
        return {
            "test_accuracy": best["test_accuracy"],
            "validation_accuracy": best["validation_accuracy"],
            "best_epoch": best["epoch"],
            "last_test_accuracy": self.history[-1]["test_accuracy"],
            "epochs": len(self.history),
            "train_images": self.batches.count,
            "test_images": self.test_images,
        }

    def parameters(self) -> dict[str, Tensor]:
        """Of the epoch that is reported (see `Learner.parameters`)."""
        tensors: dict[str, Tensor] = self.state["best"]["tensors"]
        return tensors


def learner(
    algorithm: algorithms.Algorithm, classes: int, network: Path | None, seed: int,
    where: torch.device,
) -> tuple[Learner, str | None]:  # fmt: skip
    """The learner of a cell and the digest of its source network (None for scratch)."""
    source, digest = None, None
    if isinstance(algorithm.settings, Transfer):
        if network is None:
            raise UserError("--network: the folder of the source network is missing")
        source, digest = sources.open_network(network)
    generator = torch.Generator().manual_seed(seed)
    target = build(algorithm.settings.target, classes, generator)
    return Learner(source, target, algorithm, seed, where), digest
