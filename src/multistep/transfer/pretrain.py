"""Source networks: take published weights, or train it; score it on its dataset's test part.

`multistep pretrain --name N --spec '<json>'` is what the rule `source_network` calls. Training is
as deterministic as that of a cell: on the CPU the same weights to the bit, however often it was
killed and resumed. The network of the epoch with the best validation accuracy is kept, the first
of equals; test images decide nothing.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from multistep import stats
from multistep.data import prepared
from multistep.data.prepared import Prepared
from multistep.files import UserError, check_folder, check_writable, sha256
from multistep.inner.dynamics import SGD, Tensors
from multistep.inner.in_place import step_
from multistep.job import arguments, checkpoint, device, loop
from multistep.networks.build import Backbone, build
from multistep.plan import provenance
from multistep.progress import say
from multistep.settings import json_of, parse
from multistep.transfer import sources
from multistep.transfer.augment import Augmentation
from multistep.transfer.batches import Batch, Batches, count_correct
from multistep.transfer.epoch import EpochRun
from multistep.transfer.source_record import stepped_rate
from multistep.transfer.source_settings import Batching, SourceNetwork

CODE = ["multistep.transfer.pretrain"]  # with all that it imports


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
            name, s.epochs, batches, sums=torch.zeros(2, dtype=torch.float64, device=where),
            network=dict(self.network.state_dict()), optimizer=velocity, best=-1.0, best_weights={},
        )  # fmt: skip

    def step(self, given: Batch) -> None:
        """One mini-batch of the current epoch."""
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


def _made(
    spec: SourceNetwork, weights: sources.State, metrics: dict[str, Any],
    history: list[dict[str, Any]], images: Prepared | None, place: torch.device, threads: int,
) -> dict[str, Any]:  # fmt: skip
    """What is saved of a network, scored where there are images."""
    return {
        "weights": weights,
        "metrics": metrics if images is None else metrics | tested(spec, weights, images, place),
        "history": history,
        "environment": device.environment(place, threads),
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


def add_parser(subparsers: Any) -> None:
    """`multistep pretrain`."""
    parser = subparsers.add_parser("pretrain", help="make a source network", description=__doc__)
    parser.add_argument("--name", required=True, help="its name in params.yaml")
    parser.add_argument("--spec", required=True, help="its entry in params.yaml as JSON")
    parser.add_argument("--prepared", help="how its dataset was prepared, as JSON (the plan's)")
    parser.add_argument(
        "--published", "--checkpoint-file", type=Path, help="take these weights, don't train"
    )
    arguments.add(parser, "data/networks/<name>", "scratch/networks/<name>.pt", network=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read the weights that are given, or train (or resume) on the data; score it; write it."""
    spec = parse(SourceNetwork, json_of("--spec", args.spec), "--spec: ")
    name, data, published = args.name, args.data, args.published
    out = args.out or Path("data/networks") / name
    scratch = args.checkpoint or Path(f"scratch/networks/{name}.pt")
    if published is not None and spec.layout is None:
        raise UserError(f"{name}: weights are given, but no layout; set l2t_ww or torchvision")
    if published is None and (spec.train is None or data is None):
        raise UserError(
            f"{name}: nothing to make it from; give weights (archives and layout), or a "
            "dataset and train"
        )
    place = device.prepare(args.device, args.threads)
    preparation = None if args.prepared is None else json_of("--prepared", args.prepared)
    images = None if data is None else prepared.read(data, spec.dataset, preparation)
    if images is not None and len(images.classes) != spec.classes:
        raise UserError(
            f"{data}: {len(images.classes)} classes, but the source network {name} has "
            f"{spec.classes}; correct its classes or its dataset"
        )
    check_folder(out, (sources.WEIGHTS, sources.DESCRIPTION))
    for path in (out / sources.WEIGHTS, scratch):
        check_writable(path)
    with checkpoint.exclusive(scratch):
        if published is not None:
            assert spec.layout is not None
            weights, facts = sources.load_published(
                published, spec.layout, spec.architecture, spec.classes
            )
            made = _made(spec, weights, {"published": facts}, [], images, place, args.threads)
        else:
            assert images is not None
            training = Training(name, spec, images, place)
            what = [spec.model_dump(include={"architecture", "classes", "train"}), images.digest]
            key = checkpoint.run_key(what, CODE, place, args.threads)

            def outcome() -> dict[str, Any]:
                kept, metrics = training.state["best_weights"], training.metrics()
                return _made(spec, kept, metrics, training.history, images, place, args.threads)

            made = loop.to_the_end(training, scratch, key, args.checkpoint_seconds, place, outcome)
        made_from = {
            "dataset": None if images is None else images.digest,
            "network": None if published is None else sha256(published),
            "code": provenance.code(*CODE),
        }
        sources.save(out, name, spec, made.pop("weights"), made, made_from)
    metrics = made["metrics"]
    said = f"test accuracy {metrics['test_accuracy']:.2f} % " if images is not None else ""
    say(f"{name}: {said}→ {out}")
