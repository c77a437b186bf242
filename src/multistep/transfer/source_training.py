"""Training of a source network on its dataset, and its score; `pretrain` runs it.

The network of the epoch with the best validation accuracy is kept, the first of equals; test images
decide nothing.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F

from multistep import stats
from multistep.data.prepared import Prepared
from multistep.files import UserError
from multistep.inner.dynamics import SGD, Tensors
from multistep.inner.in_place import step_
from multistep.job import loop
from multistep.networks.backbone import Backbone
from multistep.networks.build import build
from multistep.transfer import sources
from multistep.transfer.batches import Batch, Batches, count_correct
from multistep.transfer.epoch import EpochRun
from multistep.transfer.source_record import stepped_rate
from multistep.transfer.source_settings import Augmentation, Batching, SourceNetwork


class Training(EpochRun):
    """One training run: network, SGD with momentum, batches.

    `state["sums"]`, of the epoch so far, on the device: loss over images, correct images.
    """

    def __init__(
        self, name: str, spec: SourceNetwork, images: Prepared, where: torch.device
    ) -> None:
        assert spec.train is not None
        self.s = s = spec.train
        batches = Batches(images, "train", s, where, s.seed)
        batches.evaluation("validation")  # now: its absence should not be found after an epoch
        generator = torch.Generator().manual_seed(s.seed)
        self.network = build(spec.architecture, spec.classes, generator).to(where)
        self.params: Tensors = dict(self.network.named_parameters())
        self.dynamics = SGD(s.lr, s.momentum, s.weight_decay)
        with torch.no_grad():
            velocity = self.dynamics.init(self.params)
        super().__init__(
            name, s.epochs, batches, spec.architecture,
            sums=torch.zeros(2, dtype=torch.float64, device=where),
            network=dict(self.network.state_dict()), optimizer=velocity, best=-1.0, best_weights={},
        )  # fmt: skip

    def step(self, given: Batch) -> None:
        x, y = given
        self.network.train()
        logits = self.network(x)[1]
        loss = F.cross_entropy(logits, y)
        found = torch.autograd.grad(loss, list(self.params.values()))
        grads = dict(zip(self.params, found, strict=True))
        lr = stepped_rate(self.s.lr, self.s.lr_steps, self.epoch)
        step_(self.dynamics, self.params, self.state["optimizer"], grads, lr=lr)
        correct = (logits.detach().argmax(1) == y).sum()
        self.state["sums"] += torch.stack([loss.detach().double() * len(y), correct.double()])

    def summary(self) -> loop.Entry:
        """Means over the images of the epoch that ends."""
        loss, correct = (value / self.batches.count for value in self.state["sums"].tolist())
        self.state["sums"].zero_()
        if not math.isfinite(loss):
            raise UserError(f"the training loss is {loss}; set a smaller train.lr of the network")
        epoch = self.epoch - 1
        lr = stepped_rate(self.s.lr, self.s.lr_steps, epoch)
        return {"epoch": epoch, "lr": lr, "train_loss": loss, "train_accuracy": 100 * correct}

    def evaluate(self, entry: loop.Entry) -> None:
        """Validation accuracy in percent; the best epoch's weights are kept."""
        right, count = score(self.network, self.batches, "validation")
        entry["validation_accuracy"] = accuracy = 100 * right / count
        if accuracy > self.state["best"]:
            weights = {k: v.cpu().clone() for k, v in self.network.state_dict().items()}
            self.state.update(best=accuracy, best_weights=weights)

    def metrics(self) -> dict[str, Any]:
        """Of the epoch that is kept (counted from 0)."""
        accuracies = [entry["validation_accuracy"] for entry in self.history]
        return {
            "best_epoch": accuracies.index(max(accuracies)),
            "epochs": len(self.history),
            "train_images": self.batches.count,
            "validation_accuracy": max(accuracies),
            "train_seconds": self.state["seconds"]["train"],
        }


def score(network: Backbone, batches: Batches, part: str) -> tuple[int, int]:
    """Correct images of a part, and how many it has; leaves the network in eval mode."""
    network.eval()
    return count_correct(lambda x: network(x)[1], batches.evaluation(part))


def scored(
    spec: SourceNetwork, weights: sources.State, metrics: dict[str, Any],
    history: list[dict[str, Any]], images: Prepared | None, place: torch.device,
    environment: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """What is saved of a network, scored where there are images."""
    return {
        "weights": weights,
        "metrics": metrics if images is None else metrics | tested(spec, weights, images, place),
        "history": history,
        "environment": environment,
    }


def tested(
    spec: SourceNetwork, state: sources.State, images: Prepared, place: torch.device
) -> dict[str, Any]:
    """Accuracy on the test part in percent, its 95% interval, and the number of images."""
    network = build(spec.architecture, spec.classes, None)
    network.load_state_dict(state)
    s: Batching | None = spec.train
    if s is None:  # small squares as they are, else crops of 224
        height, width = images.images.shape[1:3] if images.shapes is None else (0, 0)
        small = height == width and 0 < height < 224
        kind: Augmentation = "pad_crop" if small else "random_resized_crop"
        s = Batching(size=height if small else 224, augmentation=kind, batch_size=64)
    batches = Batches(images, "test", s, place, seed=0)
    correct, count = score(network.to(place), batches, "test")
    return {
        "test_accuracy": 100 * correct / count,
        "test_interval95": list(stats.wilson(correct, count)),
        "test_images": count,
    }
