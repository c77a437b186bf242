"""Means over an epoch of what a learner reports of each mini-batch; for the history."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

SCALARS = ("train_loss", "transfer_loss", "meta_loss", "meta_gradient_norm", "meta_decay_norm")
PAIRS = ("lambda_mean", "lambda_dead")
DRIFT = ("drift", "drift_backbone")


class Means:
    """Sums on the device, read once per epoch: reading each would wait for the GPU every time.

    `drift` gets a point for every `log_every` mini-batches: its mean over them (Figure 1).
    """

    def __init__(self, log_every: int) -> None:
        self.log_every = log_every
        self.count = 0
        self.sums: dict[str, Tensor] = {}
        self.drift: list[Tensor] = []  # [2] of each mini-batch

    def add(self, reported: dict[str, Tensor]) -> None:
        """What a step of the learner reports."""
        self.count += 1
        for name, value in reported.items():
            if name not in DRIFT:
                value = value.detach().to(torch.float64)
                before = self.sums.get(name)  # on the CPU after a resumption
                self.sums[name] = value if before is None else before.to(value.device) + value
        if "drift" in reported:
            self.drift.append(torch.stack([reported[name].detach() for name in DRIFT]))

    def close(self, iterations: int) -> dict[str, Any]:
        """The entry of an epoch that ends at mini-batch `iterations` of the run; starts anew."""
        entry: dict[str, Any] = {name: self._mean(name) for name in (*SCALARS, *PAIRS)}
        entry["train_accuracy"] = 100 * self._mean("train_accuracy")
        masked = self.sums.get("masked")
        entry["masked"] = 0 if masked is None else int(masked)
        entry["drift"] = self._points(iterations - self.count)
        self.count, self.sums, self.drift = 0, {}, []
        return entry

    def _mean(self, name: str) -> Any:
        if name not in self.sums:
            return None
        mean: Any = (self.sums[name] / self.count).tolist()  # a float, or a list of pairs
        return mean if isinstance(mean, list) or math.isfinite(mean) else None

    def _points(self, before: int) -> list[list[float]] | None:
        if not self.drift:
            return None
        every = torch.stack([point.cpu() for point in self.drift]).to(torch.float64)
        points = []
        for begin in range(0, len(every), self.log_every):
            part = every[begin : begin + self.log_every]
            mean = part.mean(0).tolist()
            if all(map(math.isfinite, mean)):
                points.append([before + begin + len(part), *(float(f"{m:.5g}") for m in mean)])
        return points or None

    def state(self) -> dict[str, Any]:
        return {"count": self.count, "sums": dict(self.sums), "drift": list(self.drift)}

    def restore(self, state: dict[str, Any]) -> None:
        self.count, self.sums, self.drift = state["count"], state["sums"], state["drift"]
