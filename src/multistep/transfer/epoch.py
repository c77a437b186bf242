"""Training in epochs: cells of meta-transfer and source networks, and means over an epoch."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from multistep.files import UserError
from multistep.job import checkpoint, loop
from multistep.networks.settings import Architecture
from multistep.transfer.batches import Batch, Batches

SCALARS = ("train_loss", "transfer_loss", "meta_loss", "meta_gradient_norm", "meta_decay_norm")
PAIRS = ("lambda_mean", "lambda_dead")
DRIFT = ("drift", "drift_backbone")


class EpochRun(loop.Run):
    """A run whose iterations are mini-batches and whose stretches are epochs; `trained`: what the
    batches train. Raises UserError for batches that it can't be trained on.
    """

    def __init__(
        self, title: str, epochs: int, batches: Batches, trained: Architecture, **parts: Any
    ) -> None:
        if alone := batches.s.alone(batches.count, trained):
            raise UserError(f"{title}: batch_size: {alone}")
        super().__init__(title, "mini-batches", epochs * len(batches), **parts)
        self.epochs, self.batches = epochs, batches

    @property
    def epoch(self) -> int:
        """The epoch, from 0, that the next mini-batch belongs to."""
        return int(self.state["iteration"]) // len(self.batches)

    @property
    def position(self) -> str:
        """Epoch and mini-batch, for people."""
        batch = self.state["iteration"] % len(self.batches)
        return f"epoch {self.epoch} of {self.epochs}, mini-batch {batch}"

    def inputs(self, begin: int) -> Iterator[Batch]:
        """The mini-batches of all epochs."""
        epoch, batch = divmod(begin, len(self.batches))
        for number in range(epoch, self.epochs):
            yield from self.batches.epoch(number, batch if number == epoch else 0)

    def due(self) -> bool:
        """At the end of an epoch."""
        return bool(self.state["iteration"] % len(self.batches) == 0)


class Means:
    """Sums on the device, read once per epoch: reading each would wait for the GPU every time.

    `drift` gets a point for every `log_every` mini-batches: its mean over them (Figure 1). `state`:
    mini-batches of the epoch so far, sums over them, and a `[2]` of each for `drift`.
    """

    def __init__(self, log_every: int) -> None:
        self.log_every = log_every
        self.state: checkpoint.State = {"count": 0, "sums": {}, "drift": []}

    def add(self, reported: dict[str, Tensor]) -> None:
        """What a step of the learner reports."""
        self.state["count"] += 1
        sums = self.state["sums"]
        for name, value in reported.items():
            if name not in DRIFT:
                value = value.detach().to(torch.float64)
                sums[name] = sums[name] + value if name in sums else value
        if "drift" in reported:
            self.state["drift"].append(torch.stack([reported[name].detach() for name in DRIFT]))

    def close(self, iterations: int) -> dict[str, Any]:
        """The entry of an epoch that ends at mini-batch `iterations` of the run; starts anew."""
        entry: dict[str, Any] = {name: self._mean(name) for name in (*SCALARS, *PAIRS)}
        entry["train_accuracy"] = 100 * self._mean("train_accuracy")
        masked = self.state["sums"].get("masked")
        entry["masked"] = 0 if masked is None else int(masked)
        points, before = [], iterations - self.state["count"]
        every = torch.stack(self.state["drift"] or [torch.zeros(2)]).cpu().to(torch.float64)
        for begin in range(0, len(self.state["drift"]), self.log_every):
            part = every[begin : begin + self.log_every]
            mean = part.mean(0).tolist()
            if all(map(math.isfinite, mean)):
                points.append([before + begin + len(part), *(float(f"{m:.5g}") for m in mean)])
        entry["drift"] = points or None
        self.state.update(count=0, sums={}, drift=[])
        return entry

    def _mean(self, name: str) -> Any:
        if name not in self.state["sums"]:
            return None
        mean: Any = (self.state["sums"][name] / self.state["count"]).tolist()  # or a list of pairs
        return mean if isinstance(mean, list) or math.isfinite(mean) else None
