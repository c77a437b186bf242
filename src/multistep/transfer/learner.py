"""One mini-batch of meta-transfer: the ordinary update, the inner loop, the meta-update.

The order is that of the paper's Algorithm 1 and of L2T-ww's released code (Jang et al. 2019):

1. Forward at φ, loss L_acc + β L_tfr, one step of the task optimiser: (φ, o) → (φ₁, o₁).
2. From (φ₁, o₁), carried in as constants: T transfer steps and one accuracy step on the same batch.
3. The method's meta-gradient; the inner trajectory is dropped and one step of Adam moves θ.

The running statistics of batch norm see the batch twice: in the ordinary forward pass at φ and in
the first one of the inner loop, at φ₁ (`bn_updates: 1` leaves out the latter).
"""

import itertools
import math
from collections import deque
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from multistep.files import UserError, digest
from multistep.inner.dynamics import Adam, State, Tensors
from multistep.inner.in_place import step_
from multistep.networks.backbone import Backbone
from multistep.transfer.algorithms import Algorithm
from multistep.transfer.inner import split_state, task_dynamics
from multistep.transfer.matching import SATURATION, Matching, PairWeights, Taps
from multistep.transfer.settings import Transfer


class Learner:
    """φ, batch norm's statistics, θ and both optimisers of one cell.

    `source` is a frozen network in eval mode, None for methods without transfer. `target` brings
    the initial values of the backbone; those of the matching networks and of θ come from `seed`.
    `state` holds all that training changes: `phi` and the task optimiser's `optimizer` (o), which
    the inner loop starts from, `buffers`, `theta` and Adam's `meta`.
    """

    def __init__(
        self, source: Backbone | None, target: Backbone, algorithm: Algorithm, seed: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.algorithm, self.device = algorithm, device
        self.settings = settings = algorithm.settings
        self.target = target.to(device)
        self.backbone = [name for name, _ in target.named_parameters()]
        phi = {name: p.detach().clone() for name, p in target.named_parameters()}
        like = next(iter(phi.values()))
        self.buffers = {name: b.detach().clone() for name, b in target.named_buffers()}
        # Updated, and never read, by the forward passes that the statistics must not see.
        self.unread = {name: b.clone() for name, b in self.buffers.items()}
        self.theta: Tensors = {}
        self.matching: Matching | None = None
        if isinstance(settings, Transfer):
            if source is None:
                raise ValueError(f"{type(algorithm).__name__} needs a source network")
            self.transfer = s = settings
            self.source = source.to(device).eval().requires_grad_(False)
            self.matching = Matching(
                _channels(source, s.source_taps, "source"),
                _channels(target, s.target_taps, "target"),
            )
            generator = torch.Generator().manual_seed(int(digest([seed, "matching"])[:8], 16))
            added = self.matching.initial_phi(generator)
            theta = self.matching.initial_theta(s.where_bias, generator)
            phi |= {name: p.to(like) for name, p in added.items()}
            self.theta = {name: p.to(like).requires_grad_() for name, p in theta.items()}
            self.meta = Adam(s.meta_lr, weight_decay=s.meta_weight_decay)
        self.phi = {name: p.requires_grad_() for name, p in phi.items()}
        with torch.no_grad():
            self.state: State = {
                "phi": self.phi,
                "optimizer": task_dynamics(settings, settings.lr).init(self.phi),
                "buffers": self.buffers,
                "theta": self.theta,
                "meta": self.meta.init(self.theta) if self.theta else {},
            }
        # What was not yet known to be finite: names, values on the host, and when they are there.
        self._unchecked: deque[tuple[list[str], Tensor, torch.cuda.Event | None]] = deque()
        # Made once: the memory that a copy to the host doesn't wait for is slow to get.
        pinned = device.type == "cuda"
        places = torch.empty(AHEAD, len(CHECKED), dtype=like.dtype, pin_memory=pinned)
        self._places = itertools.cycle(places.unbind())

    def step(self, x: Tensor, y: Tensor, lr: float) -> dict[str, Tensor]:
        """One mini-batch: `x [batch, 3, h, w]` normalised, labels `y [batch]`, this epoch's rate.

        Returns detached diagnostics; methods without transfer have only `train_loss` and
        `train_accuracy`. Raises UserError where a loss or the meta-gradient is not finite.
        """
        batch = MiniBatch(self, x, y)
        logits, accuracy, transfer = batch.ordinary_update(lr)
        report = {"train_loss": accuracy, "train_accuracy": (logits.argmax(1) == y).float().mean()}
        if self.matching is not None:
            assert transfer is not None
            assert batch.pair_weights is not None
            report["transfer_loss"] = transfer
            state = self.state["optimizer"]
            if self.transfer.absent_gradients == "skip":
                state = split_state(state)
            found = self.algorithm.meta_gradient(batch, self.theta, self.phi, state, lr)
            report |= self._meta_update(found.grads)
            z = batch.pair_weights.where_input.detach()
            report["lambda_mean"] = batch.pair_weights.where.detach().mean(0)
            # Whether no sample of the batch can change λ, for every pair.
            report["lambda_dead"] = (~((z > 0) & (z < SATURATION)).any(0)).float()
            report["meta_loss"] = found.loss
            nan = accuracy.new_full((2,), torch.nan)
            drift = nan if found.drift is None else found.drift
            report["drift"], report["drift_backbone"] = drift.unbind()
            none = torch.zeros((), dtype=torch.int64, device=self.device)
            report["masked"] = none if found.masked is None else found.masked
        self._check(report)
        return report

    def _meta_update(self, grads: Tensors) -> dict[str, Tensor]:
        """One step of Adam on θ; returns the norms of the gradient and of the decay beside it.

        Where nothing reaches θ it moves by its decay alone, or stays (`absent_gradients`).
        """
        zero = torch.zeros((), device=self.device)
        norms = {
            "meta_gradient_norm": _norm(grads.values()) if grads else zero,
            "meta_decay_norm": self.transfer.meta_weight_decay * _norm(self.theta.values()),
        }
        if grads or self.transfer.absent_gradients == "zero":
            given = {
                n: grads[n] if n in grads else torch.zeros_like(p) for n, p in self.theta.items()
            }
            step_(self.meta, self.theta, self.state["meta"], given)
        return norms

    def _check(self, report: dict[str, Tensor]) -> None:
        """Refuse to go on with what is not finite: at once on the CPU, and on a GPU as soon as the
        values have arrived. The processor waits for the device only if it is `AHEAD` mini-batches
        behind.
        """
        names = [n for n in CHECKED if n in report]
        values, arrived = torch.stack([report[n].detach() for n in names]), None
        if self.device.type == "cuda":
            if len(self._unchecked) == AHEAD:
                self._check_oldest()
            values = next(self._places)[: len(names)].copy_(values, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._unchecked.append((names, values, arrived))
        while self._unchecked and (self._unchecked[0][2] is None or self._unchecked[0][2].query()):
            self._check_oldest()

    def _check_oldest(self) -> None:
        names, values, arrived = self._unchecked.popleft()
        if arrived is not None:
            arrived.synchronize()
        _refuse(names, values)

    def settle(self) -> None:
        """Check everything now, before its outcome is kept (see `_check`)."""
        while self._unchecked:
            self._check_oldest()

    def parameters(self) -> Tensors:
        """`target.*` as its module names them, `match.*` (see `Matching`) and θ as `meta.*`."""
        target = {n: self.phi[n] for n in self.backbone} | self.buffers
        matching = {n: p for n, p in self.phi.items() if n not in self.backbone}
        meta = {f"meta.{n}": p for n, p in self.theta.items()}
        return {f"target.{n}": p for n, p in target.items()} | matching | meta

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """`[batch, classes]` in eval mode, i.e. with the running statistics."""
        self.target.eval()
        params = {name: self.phi[name] for name in self.backbone}
        _, logits = functional_call(self.target, {**params, **self.buffers}, (x,))
        return logits


class MiniBatch:
    """The losses of one mini-batch, as `multistep.transfer.inner.Losses`."""

    def __init__(self, learner: Learner, x: Tensor, y: Tensor) -> None:
        self.learner, self.x, self.y = learner, x, y
        self.pair_weights: PairWeights | None = None
        self.maps: Taps = {}
        self.closure: list[Tensor] = []

    @property
    def statistics(self) -> Tensors:
        """What the inner loop's first pass updates, at φ₁."""
        twice = self.learner.transfer.bn_updates == 2
        return self.learner.buffers if twice else self.learner.unread

    def forward(self, phi: Tensors, buffers: Tensors | None = None) -> tuple[Taps, Tensor]:
        """The target network in train mode: (taps, logits). `buffers` are updated."""
        learner = self.learner
        params = {name: phi[name] for name in learner.backbone}
        buffers = learner.unread if buffers is None else buffers
        both = params | buffers
        result: tuple[Taps, Tensor] = functional_call(learner.target, both, (self.x,))
        return result

    def ordinary_update(self, lr: float) -> tuple[Tensor, Tensor, Tensor | None]:
        """The only update of φ that stays: logits, L_acc and L_tfr before it, all detached."""
        learner, phi = self.learner, self.learner.phi
        learner.target.train()
        taps, logits = self.forward(phi, learner.buffers)
        accuracy = total = F.cross_entropy(logits, self.y)
        transfer = None
        if learner.matching is not None:
            weights, self.maps = self._source_features(taps)
            self.pair_weights = weights
            constant = {n: w.detach() for n, w in weights.weights.items()}
            transfer = learner.matching.loss(phi, taps, self.maps, constant)
            total = accuracy + learner.transfer.beta * transfer
            transfer = transfer.detach()
            if learner.transfer.source_features == "step":
                self.maps, self.closure = {}, list(learner.theta.values())
            else:
                self.closure = list(weights.weights.values())
        grads = dict(zip(phi, torch.autograd.grad(total, list(phi.values())), strict=True))
        dynamics = task_dynamics(learner.settings, lr)
        step_(dynamics, phi, learner.state["optimizer"], grads, fused=True)
        return logits.detach(), accuracy.detach(), transfer

    def accuracy(self, phi: Tensors, buffers: Tensors | None = None) -> Tensor:
        """L_acc at φ."""
        _, logits = self.forward(phi, buffers)
        return F.cross_entropy(logits, self.y)

    def transfer(self, phi: Tensors, buffers: Tensors | None = None) -> Tensor:
        """L_tfr at φ, without β."""
        matching = self.learner.matching
        assert matching is not None
        assert self.pair_weights is not None
        taps, _ = self.forward(phi, buffers)
        weights, maps = self.pair_weights, self.maps
        if not maps:  # `source_features: step`
            weights, maps = self._source_features(taps)
        return matching.loss(phi, taps, maps, weights.weights)

    def _source_features(self, target_taps: Taps) -> tuple[PairWeights, Taps]:
        learner, matching = self.learner, self.learner.matching
        assert matching is not None
        pooled, maps = matching.features(learner.source, self.x, target_taps)
        return matching.pair_weights(learner.theta, pooled), maps


AHEAD = 32  # mini-batches whose values may be under way from a GPU
# What must be finite: its name for people and the place where it arises.
CHECKED = {
    "train_loss": ("the accuracy loss", "in the ordinary update's forward pass"),
    "transfer_loss": ("the transfer loss", "in the ordinary update's forward pass"),
    "meta_loss": ("the outer loss", "after the inner steps"),
    "meta_gradient_norm": ("the meta-gradient", "in the backward pass through the inner steps"),
}


def _refuse(names: list[str], values: Tensor) -> None:
    bad = [n for n, v in zip(names, values.tolist(), strict=True) if not math.isfinite(v)]
    if bad:
        what, where = CHECKED[bad[0]]
        raise UserError(
            f"{what} is not finite ({where}): training has diverged; lower lr or meta_lr of "
            "the experiment in params.yaml, or see in the history when the loss began to rise"
        )


def _channels(network: Backbone, taps: list[int], role: str) -> dict[int, int]:
    unknown = [tap for tap in taps if tap not in network.tap_channels]
    if unknown:
        raise UserError(
            f"transfer.{role}_taps: {unknown} are no taps of the {role} network; it has "
            f"{list(network.tap_channels)}"
        )
    return {tap: network.tap_channels[tap] for tap in taps}


@torch.no_grad()
def _norm(tensors: Any) -> Tensor:
    return torch.stack([t.norm() for t in tensors]).norm()
