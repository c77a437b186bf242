"""Source networks: take a published checkpoint, or train one; score it on its dataset's test part.

`multistep pretrain --name N --spec '<json>'` is what the rule `source_network` calls. Training is
as deterministic as that of a cell: on the CPU the same weights to the bit, however often it was
killed and resumed. The network of the epoch with the best validation accuracy is kept, the first
of equals; test images decide nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from multistep.data import image_sets
from multistep.data.image_sets import ImageSet
from multistep.files import UserError, sha256
from multistep.job import checkpoint, device
from multistep.job.optimizers import SGD
from multistep.networks.build import Backbone, build
from multistep.progress import progress, say
from multistep.transfer import sources
from multistep.transfer.batches import Batches, count_correct
from multistep.transfer.settings import Pretrain, SourceNetwork


class Training:
    """One training run: network, SGD with momentum, batches, and what has been recorded so far."""

    def __init__(
        self, name: str, spec: SourceNetwork, images: ImageSet, where: torch.device
    ) -> None:
        assert spec.train is not None
        self.name, self.s = name, spec.train
        self.batches = Batches(images, "train", self.s, where, self.s.seed)
        self.batches.evaluation("validation")  # now: its absence should not be found after an epoch
        generator = torch.Generator().manual_seed(self.s.seed)
        self.network = build(spec.architecture, spec.classes, generator).to(where)
        self.params = list(self.network.parameters())
        self.optimizer = SGD(self.params, self.s.lr, self.s.momentum, self.s.weight_decay)
        self.epoch = self.batch = 0  # the position: this batch of this epoch is next
        # Of the epoch so far, summed on the device: loss over images, correct images.
        self.sums = torch.zeros(2, dtype=torch.float64, device=where)
        self.best = -1.0
        self.best_state: sources.State = {}
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0

    def train(self, save: checkpoint.Saver) -> None:
        """Iterate to the end; `save` is asked after every batch whether it is time."""
        total = self.s.epochs * len(self.batches)
        done = self.epoch * len(self.batches) + self.batch
        with progress(f"{self.name}: pretraining", total, "batches", done) as advance:
            while self.epoch < self.s.epochs:
                begin = time.perf_counter()
                for x, y in self.batches.epoch(self.epoch, self.batch):
                    self.step(x, y)
                    self.batch += 1
                    if self.batch == len(self.batches):
                        self._end_epoch()
                    self.seconds += time.perf_counter() - begin
                    advance(1)
                    save.maybe(self.state)
                    begin = time.perf_counter()

    def step(self, x: Tensor, y: Tensor) -> None:
        """One mini-batch of the current epoch."""
        self.optimizer.lr = rate(self.s, self.epoch)
        self.network.train()
        logits = self.network(x)[1]
        loss = F.cross_entropy(logits, y)
        self.optimizer.step(torch.autograd.grad(loss, self.params))
        correct = (logits.detach().argmax(1) == y).sum()
        self.sums += torch.stack([loss.detach().double() * len(y), correct.double()])

    def _end_epoch(self) -> None:
        loss, correct = (value / self.batches.count for value in self.sums.tolist())
        if not math.isfinite(loss):
            raise UserError(
                f"{self.name}: the training loss is {loss} in epoch {self.epoch}; set a smaller "
                "train.lr of the source network"
            )
        right, count = score(self.network, self.batches, "validation")
        accuracy = 100 * right / count
        self.history.append(
            {
                "epoch": self.epoch,
                "lr": rate(self.s, self.epoch),
                "train_loss": loss,
                "train_accuracy": 100 * correct,
                "validation_accuracy": accuracy,
            }
        )
        if accuracy > self.best:
            state = self.network.state_dict()
            self.best, self.best_state = accuracy, {k: v.cpu().clone() for k, v in state.items()}
        self.epoch, self.batch = self.epoch + 1, 0
        self.sums.zero_()
        say(
            f"{self.name}: epoch {self.epoch} of {self.s.epochs}: train loss {loss:.4f}, "
            f"accuracy {100 * correct:.2f} %, validation {accuracy:.2f} %"
        )

    def metrics(self) -> dict[str, Any]:
        """Of the epoch that is kept (counted from 0)."""
        accuracies = [entry["validation_accuracy"] for entry in self.history]
        return {
            "best_epoch": accuracies.index(max(accuracies)),
            "epochs": self.epoch,
            "train_images": self.batches.count,
            "validation_accuracy": max(accuracies),
            "train_seconds": self.seconds,
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "sums": self.sums.cpu(),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state(),
            "best": self.best,
            "best_state": self.best_state,
            "history": self.history,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.sums = state["sums"].to(self.sums.device)
        self.network.load_state_dict(state["network"])
        self.optimizer.restore(state["optimizer"])
        self.best, self.best_state = state["best"], state["best_state"]
        self.history, self.seconds = state["history"], state["seconds"]


def rate(s: Pretrain, epoch: int) -> float:
    """The learning rate of an epoch, counted from 0: a tenth after each of `lr_steps` epochs."""
    return s.lr / 10 ** sum(epoch >= step for step in s.lr_steps)


def score(network: Backbone, batches: Batches, part: str) -> tuple[int, int]:
    """Correct images of a part, and how many it has; leaves the network in eval mode."""
    network.eval()
    return count_correct(lambda x: network(x)[1], batches.evaluation(part))


def make(
    name: str,
    spec: SourceNetwork,
    published: Path | None,
    data: Path | None,
    out: Path,
    scratch: Path,
    where: str,
    threads: int,
    checkpoint_seconds: float = 60,
) -> None:
    """Read the checkpoint `published`, or train (or resume) on `data`; score it; write `out`."""
    if published is not None and spec.layout is None:
        raise UserError(f"{name}: a checkpoint is given, but no layout; set l2t_ww or torchvision")
    if published is None and (spec.train is None or data is None):
        raise UserError(
            f"{name}: nothing to make it from; give a checkpoint (archives and layout), or a "
            "dataset and train"
        )
    place = device.prepare(where, threads)
    images = None if data is None else image_sets.load(data)
    if images is not None and len(images.classes) != spec.classes:
        raise UserError(
            f"{data}: {len(images.classes)} classes, but the source network {name} has "
            f"{spec.classes}; correct its classes or its dataset"
        )
    environment = device.environment(
        place, threads, {"dataset_digest": None if images is None else images.digest}
    )
    history: list[dict[str, Any]] = []
    with checkpoint.exclusive(scratch):
        if published is not None:
            assert spec.layout is not None
            state, facts = sources.load_published(
                published, spec.layout, spec.architecture, spec.classes
            )
            metrics = {"published": facts, "checkpoint_sha256": sha256(published)}
        else:
            assert images is not None
            training = Training(name, spec, images, place)
            _run(training, spec, images, scratch, place, threads, checkpoint_seconds)
            state, metrics, history = training.best_state, training.metrics(), training.history
        if images is not None:
            metrics |= tested(spec, state, images, place)
        origin = "trained" if published is None else "checkpoint"
        sources.save(out, name, spec, state, origin, metrics, history, environment)
        checkpoint.remove(scratch)
    said = f"test accuracy {metrics['test_accuracy']:.2f} % " if images is not None else ""
    say(f"{name}: {said}→ {out}")


def _run(
    training: Training,
    spec: SourceNetwork,
    images: ImageSet,
    scratch: Path,
    place: torch.device,
    threads: int,
    checkpoint_seconds: float,
) -> None:
    """Train to the end, from the checkpoint `scratch` if there is one of the same run."""
    what = [spec.model_dump(include={"architecture", "classes", "train"}), images.digest]
    key = checkpoint.run_key(what, [__name__], place.type, threads)
    state = checkpoint.load(scratch, key)
    if state is not None:
        training.restore(state)
        say(f"resumed at batch {training.batch} of epoch {training.epoch}")
    save = checkpoint.Saver(scratch, key, checkpoint_seconds)
    with save.on_signals(signal.SIGTERM, signal.SIGINT):
        training.train(save)
    save.now(training.state)


def tested(
    spec: SourceNetwork, state: sources.State, images: ImageSet, place: torch.device
) -> dict[str, Any]:
    """Accuracy on the test part in percent, its 95% interval, and the number of images."""
    network = build(spec.architecture, spec.classes, None)
    network.load_state_dict(state)
    s = spec.train or _evaluated(images)
    batches = Batches(images, "test", s, place, seed=0)
    correct, count = score(network.to(place), batches, "test")
    return {
        "test_accuracy": 100 * correct / count,
        "test_interval95": list(sources.wilson(correct, count)),
        "test_images": count,
    }


def _evaluated(images: ImageSet) -> Pretrain:
    """Settings for a checkpoint that comes without: small squares as they are, else 224 crops."""
    height, width = images.images.shape[1:3] if images.shapes is None else (0, 0)
    small = height == width and 0 < height < 224
    return Pretrain(
        epochs=1,
        batch_size=64,
        lr=1.0,
        momentum=0.0,
        weight_decay=0.0,
        lr_steps=[],
        augmentation="pad_crop" if small else "random_resized_crop",
        size=height if small else 224,
        seed=0,
    )


def add_parser(subparsers: Any) -> None:
    """`multistep pretrain`."""
    parser = subparsers.add_parser("pretrain", help="make a source network", description=__doc__)
    parser.add_argument("--name", required=True, help="its name in params.yaml")
    parser.add_argument("--spec", required=True, help="its entry in params.yaml as JSON")
    parser.add_argument("--checkpoint-file", type=Path, help="take this checkpoint, don't train")
    parser.add_argument("--data", type=Path, help="prepared images, to train on and to score it")
    parser.add_argument("--out", type=Path, help="folder (data/networks/<name>)")
    parser.add_argument("--scratch", type=Path, help="(scratch/networks/<name>.pt)")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument(
        "--checkpoint-seconds", type=float, default=60, help="between checkpoints (default 60)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Parse the settings, fill in the default paths, make the network."""
    try:
        spec = SourceNetwork.model_validate(json.loads(args.spec))
    except ValueError as error:
        raise UserError(f"--spec is not the JSON of a source network ({error!r})") from None
    make(
        args.name,
        spec,
        args.checkpoint_file,
        args.data,
        args.out or Path("data/networks") / args.name,
        args.scratch or Path(f"scratch/networks/{args.name}.pt"),
        args.device,
        args.threads,
        args.checkpoint_seconds,
    )
