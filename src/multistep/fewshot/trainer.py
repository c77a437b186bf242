"""The outer loop's body: one meta-iteration, and the sums that the history is made of.

On a CPU it runs as written. On CUDA the whole meta-iteration (gather, rotate, inner loops, adjoint,
Adam) is captured once in a CUDA graph and replayed: shapes are static, the only input is the draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from multistep.data.prepared import Prepared
from multistep.fewshot import meta
from multistep.fewshot.algorithms import Algorithm
from multistep.fewshot.batched import BatchedConv4
from multistep.fewshot.episodes import Draw, Sampler
from multistep.files import UserError
from multistep.inner.dynamics import SGD, Adam
from multistep.inner.in_place import step_
from multistep.job import checkpoint

# Makes of work on tensors that stay where they are, of its rehearsal and of a pool of memory what
# does the work again.
Record = Callable[[Callable[[], None], Callable[[], None], Any], Callable[[], None]]
SUMS = ("train_loss", "train_accuracy", "meta_gradient_norm")


class DivergedError(UserError):
    """Training has left the finite numbers."""


class Trainer:
    """θ, its optimiser, and running sums of query loss, query accuracy and meta-gradient norm.

    `state` holds all that changes from one meta-iteration to the next; `params` are the parts of θ
    that have entries, and `grads` their last meta-gradients. `record`: how the meta-iteration is
    recorded; None: in a CUDA graph on CUDA, and not at all elsewhere.
    """

    def __init__(
        self, network: BatchedConv4, algorithm: Algorithm, sampler: Sampler, seed: int,
        record: Record | None = None,
    ) -> None:  # fmt: skip
        self.network, self.algorithm, self.sampler = network, algorithm, sampler
        self.s = s = algorithm.settings
        self.device = sampler.images.device
        self.theta = theta = meta.start(algorithm, network, seed, self.device)
        self.params = {name: p for name, p in meta.moving(theta).items() if p.numel()}
        self.grads = {name: torch.zeros_like(p) for name, p in self.params.items()}
        adam = s.meta_optimizer == "adam"
        self.outer = Adam(s.meta_lr, eps=s.meta_eps) if adam else SGD(s.meta_lr)
        optimizer = self.outer.init(self.params)
        self.lr: float | Tensor = s.meta_lr
        self.record = record or (cuda_graph if self.device.type == "cuda" else None)
        if self.record is not None:
            # What is recorded reads rate and count from the device; numbers on the CPU are exact.
            self.lr = torch.tensor(s.meta_lr, device=self.device)
            optimizer |= {"step": torch.zeros((), device=self.device)} if adam else {}
        self.sums = torch.zeros(len(SUMS), dtype=torch.float64, device=self.device)
        self.state: checkpoint.State = {
            "params": self.params,
            "carried": theta.carried,
            "optimizer": optimizer,
            "sums": self.sums,
            "summed": 0,
        }
        self.pool: Any = None  # memory that several captured trainers may share, one at a time
        self._inputs: Draw | None = None
        self.replay: Callable[[], None] | None = None

    @classmethod
    def of(
        cls, algorithm: Algorithm, dataset: Prepared, images: Tensor, parts: list[str], seed: int,
        record: Record | None = None,
    ) -> Trainer:  # fmt: skip
        """On the classes of some parts of a dataset; `images`: its own, on the trainer's device."""
        network = meta.build_network(algorithm.settings, dataset.size, dataset.channels)
        sampler = Sampler.of(dataset, images, algorithm.settings, parts, "train", seed)
        return cls(network, algorithm, sampler, seed, record)

    @property
    def iterate(self) -> dict[str, Tensor]:
        """All that adaptation starts from: θ, and what is carried with it."""
        return self.params | self.theta.carried

    def step(self, iteration: int) -> None:
        """Meta-iteration number `iteration` (from 0)."""
        if self.s.meta_schedule == "linear":
            rate = self.s.meta_lr * (1 - iteration / self.s.iterations)
            self.lr = self.lr.fill_(rate) if isinstance(self.lr, Tensor) else rate
        self.run(self.sampler.draw(iteration, self.s.meta_batch))

    def run(self, draw: Draw) -> None:
        """One meta-iteration on these episodes: recorded at the first call and replayed, where
        there is a recorder.
        """
        self.state["summed"] += 1
        if self.record is None:
            self._iterate(draw.to(self.device))
            return
        if self._inputs is None or self.replay is None:
            self._inputs = inputs = Draw(*(t.clone() for t in vars(draw.to(self.device)).values()))
            self.replay = self.record(
                lambda: self._iterate(inputs), lambda: self.rehearse(inputs), self.pool
            )
        for static, new in zip(vars(self._inputs).values(), vars(draw).values(), strict=True):
            # The processor doesn't wait: it draws the next episodes while the device computes.
            static.copy_(new, non_blocking=True)
        self.replay()

    def means(self) -> dict[str, float]:
        """Means since the last call; a `UserError` if something is no longer finite."""
        values = (self.sums / self.state["summed"]).tolist()
        means = dict(zip(SUMS, values, strict=True))
        bad = [name for name in SUMS if not math.isfinite(means[name])]
        if bad:
            raise DivergedError(
                f"{', '.join(bad)} is not finite: training has diverged; lower inner_lr or "
                "meta_lr, or use network.order conv-bn-relu (the other explodes at second order)"
            )
        self.sums.zero_()
        self.state["summed"] = 0
        return means

    @torch.no_grad()
    def load(self, iterate: dict[str, Tensor]) -> None:
        """Set θ and what is carried with it."""
        for name, p in self.iterate.items():
            p.copy_(iterate[name])

    @torch.no_grad()
    def _iterate(self, draw: Draw) -> None:
        batch = self.sampler.gather(draw)
        gradient = meta.meta_gradient(self.algorithm, self.network, self.theta, batch)
        by = meta.moving(gradient)
        norm = torch.cat([g.flatten() for g in by.values()]).norm()
        for name, kept in self.grads.items():
            kept.copy_(by[name])
            if self.s.meta_clip is not None:
                kept.clamp_(-self.s.meta_clip, self.s.meta_clip)
        for name, kept in self.theta.carried.items():
            kept.copy_(gradient.carried[name])
        step_(self.outer, self.params, self.state["optimizer"], self.grads, lr=self.lr)
        self.sums += torch.stack([gradient.loss.mean(), gradient.accuracy.mean(), norm])

    @torch.no_grad()
    def rehearse(self, draw: Draw) -> None:
        """Iterate three times and undo it in place: parameters, moments and sums stay these very
        tensors, which a graph may then record.
        """
        before = checkpoint.copies(self.state)
        for _ in range(3):
            self._iterate(draw)
        checkpoint.restore(self.state, before, self.device)


def cuda_graph(work: Callable[[], None], rehearse: Callable[[], None], pool: Any = None) -> Any:
    """Record `work` in a CUDA graph, after its rehearsal on a side stream; what replays it.

    `pool`: memory that several graphs may share, of which one runs at a time.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        rehearse()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        work()
    return graph.replay
