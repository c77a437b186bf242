"""The outer loop's body: one meta-iteration, and the sums that the history is made of.

On a CPU it runs as written. On CUDA the whole meta-iteration (gather, rotate, inner loops, adjoint,
Adam) is captured once in a CUDA graph and replayed: shapes are static, the only input is the draw.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from multistep.fewshot import meta
from multistep.fewshot.batched import BatchedConv4
from multistep.fewshot.episodes import Draw, Sampler
from multistep.fewshot.settings import FewShot
from multistep.files import UserError
from multistep.job.optimizers import Adam

SUMS = ("train_loss", "train_accuracy", "meta_gradient_norm")


class DivergedError(UserError):
    """Training has left the finite numbers."""


class Trainer:
    """θ, its optimiser, and running sums of query loss, query accuracy and meta-gradient norm."""

    def __init__(
        self, network: BatchedConv4, method: meta.Method, sampler: Sampler, s: FewShot, seed: int
    ) -> None:
        self.network, self.method, self.sampler, self.s = network, method, sampler, s
        device = sampler.images.device
        self.theta = meta.initial_theta(network, seed, device)
        self.params = [p for p in (self.theta.adapted, self.theta.shared) if p.numel()]
        self.grads = [torch.zeros_like(p) for p in self.params]
        cuda = device.type == "cuda"
        # A captured graph reads the rate from the device; a number on the CPU is exact.
        self.lr: float | Tensor = torch.tensor(s.meta_lr, device=device) if cuda else s.meta_lr
        self.adam = None
        if s.meta_optimizer == "adam":
            self.adam = Adam(self.params, self.lr, eps=s.meta_eps, capturable=cuda)
        self.sums = torch.zeros(len(SUMS), dtype=torch.float64, device=device)
        self.summed = 0
        self.pool: Any = None  # memory that several captured trainers may share, one at a time
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: Draw | None = None

    def step(self, iteration: int) -> None:
        """Meta-iteration number `iteration` (from 0)."""
        if self.s.meta_schedule == "linear":
            self._set_rate(self.s.meta_lr * (1 - iteration / self.s.iterations))
        self.run(self.sampler.draw(iteration, self.s.meta_batch))

    def run(self, draw: Draw) -> None:
        """One meta-iteration on these episodes."""
        if self.sums.device.type == "cuda":
            self._replay(draw)
        else:
            self._iterate(draw)
        self.summed += 1

    def means(self) -> dict[str, float]:
        """Means since the last call; a `UserError` if something is no longer finite."""
        values = (self.sums / self.summed).tolist()
        means = dict(zip(SUMS, values, strict=True))
        bad = [name for name in SUMS if not abs(means[name]) < float("inf")]
        if bad:
            raise DivergedError(
                f"{', '.join(bad)} is not finite: training has diverged; lower inner_lr or "
                "meta_lr, or use network.order conv-bn-relu (the other explodes at second order)"
            )
        self.sums.zero_()
        self.summed = 0
        return means

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as tensors and plain values."""
        return {
            "params": [p.detach().clone() for p in self.params],
            "adam": self.adam.state() if self.adam else {},
            "sums": self.sums.clone(),
            "summed": self.summed,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.load(state["params"])
        if self.adam:
            self.adam.restore(state["adam"])
        self.sums.copy_(state["sums"])
        self.summed = state["summed"]

    @torch.no_grad()
    def load(self, params: list[Tensor]) -> None:
        """Set θ."""
        for p, saved in zip(self.params, params, strict=True):
            p.copy_(saved)

    @torch.no_grad()
    def _iterate(self, draw: Draw) -> None:
        batch = self.sampler.gather(draw)
        gradient = meta.meta_gradient(self.method, self.network, self.theta, batch, self.s)
        norm = torch.cat([gradient.adapted, gradient.shared]).norm()
        for kept, g in zip(self.grads, (gradient.adapted, gradient.shared), strict=False):
            kept.copy_(g)
            if self.s.meta_clip is not None:
                kept.clamp_(-self.s.meta_clip, self.s.meta_clip)
        self._update()
        self.sums += torch.stack([gradient.loss.mean(), gradient.accuracy.mean(), norm])

    def _update(self) -> None:
        """One step of the outer optimiser."""
        if self.adam:
            self.adam.step(self.grads)
            return
        for p, g in zip(self.params, self.grads, strict=True):
            p.sub_(self.lr * g)

    def _set_rate(self, rate: float) -> None:
        if isinstance(self.lr, Tensor):
            self.lr.fill_(rate)
            return
        self.lr = rate
        if self.adam:
            self.adam.lr = rate

    def _replay(self, draw: Draw) -> None:
        if self._inputs is None or self._graph is None:
            self._capture(draw)
        assert self._inputs is not None
        assert self._graph is not None
        for static, new in zip(vars(self._inputs).values(), vars(draw).values(), strict=True):
            static.copy_(new)
        self._graph.replay()

    def _capture(self, draw: Draw) -> None:
        """Record `_iterate` on static inputs, after rehearsing it on a side stream."""
        self._inputs = draw.to(self.sums.device)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.rehearse(self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=self.pool):
            self._iterate(self._inputs)

    @torch.no_grad()
    def rehearse(self, draw: Draw) -> None:
        """Iterate three times and undo it in place: parameters, moments and sums stay these very
        tensors, which a graph may then record.
        """
        before = self.state()
        for _ in range(3):
            self._iterate(draw)
        self.restore(before)
