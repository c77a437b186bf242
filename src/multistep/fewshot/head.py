"""The linear head of a task-batched network as an inner problem of its own, on given features.

Methods that adapt the head alone (ANIL, memory-reduced meta-learning) see the body, everything
before the head, through its features z `[tasks, images, F]`. A head y is `[tasks, ways, F+1]`: the
weight, and the bias as its last column, which reads a constant feature 1. With z̃ = (z, 1), logits
a = y z̃, p = softmax(a), one-hot targets t and N support images

    g(y)    = (1/N) Σ cross-entropy(p, t) + (ρ/2)‖y‖²
    ∇g      = (1/N) Σ (p - t) z̃ᵀ + ρ y
    ∇²g u   = (1/N) Σ ȧ z̃ᵀ + ρ u,   ȧ = p ∘ (u z̃ - ⟨p, u z̃⟩)
    ∂⟨∇g, u⟩/∂z = (1/N) (uᵀ(p - t) + yᵀȧ), without the row of the bias.

g is convex in y, and strongly convex with ρ > 0.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from multistep.fewshot.algorithms import Algorithm
from multistep.fewshot.batched import BatchedConv4, EpisodeLoss, Evaluation
from multistep.fewshot.meta import Tasks


class HeadTape(NamedTuple):
    """What one gradient keeps: the head and its probabilities `[tasks, images, ways]`."""

    head: Tensor
    probabilities: Tensor

    @property
    def nbytes(self) -> int:
        return self.head.nbytes + self.probabilities.nbytes


class HeadLoss:
    """g of each task; an `Objective` over heads whose shared parameters are the features.

    `features`: `[tasks, images, F]`, `targets`: one-hot `[tasks, images, ways]`, `ridge`: ρ.
    """

    def __init__(self, features: Tensor, targets: Tensor, *, ridge: float = 0.0) -> None:
        self.inputs = torch.nn.functional.pad(features, (0, 1), value=1.0)
        self.targets, self.ridge = targets, ridge
        self.images = features.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of the features."""
        return self.inputs.nbytes

    def gradient(self, head: Tensor, *, keep: bool) -> tuple[Tensor, HeadTape | None]:
        """∇g at the head, `[tasks, ways, F+1]`."""
        probabilities = self._logits(head).softmax(2)
        gradient = self._transposed((probabilities - self.targets).div_(self.images), head)
        return gradient, HeadTape(head, probabilities) if keep else None

    def hessian_product(self, tape: HeadTape, direction: Tensor) -> tuple[Tensor, Tensor]:
        """(∇²g u `[tasks, ways, F+1]`, ∂⟨∇g, u⟩/∂z `[tasks, images, F]`) at the tape's head."""
        p, moved = tape.probabilities, self._logits(direction)
        moved = (p * (moved - (p * moved).sum(2, keepdim=True))).div_(self.images)
        residual = (p - self.targets).div_(self.images)
        mixed = torch.baddbmm(moved @ tape.head, residual, direction)
        return self._transposed(moved, direction), mixed[..., :-1]

    def _logits(self, head: Tensor) -> Tensor:
        return self.inputs @ head.transpose(1, 2)

    def _transposed(self, by_logits: Tensor, head: Tensor) -> Tensor:
        """Σ ∂/∂a z̃ᵀ + ρ y."""
        return torch.baddbmm(head, by_logits.transpose(1, 2), self.inputs, beta=self.ridge)


class SupportPass:
    """One pass of the body at φ over the support set; `again`: not kept, but made once more on the
    way back. `nbytes`: what is kept; `rebuilt`: after the way back, what was made on it.
    """

    def __init__(self, loss: EpisodeLoss, phi: Tensor, *, again: bool) -> None:
        self.loss, self.phi, self.rebuilt = loss, phi, 0
        self.features, saved = loss.body(phi)
        self.saved = None if again else saved
        self.nbytes = 0 if again else loss.bytes_of(saved)

    def backward(self, by_features: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives by φ `[tasks·P]` and by shared `[tasks·S]` of what the features lead to."""
        saved = self.saved
        if saved is None:
            _, saved = self.loss.body(self.phi)
            self.rebuilt = self.phi.nbytes + self.loss.bytes_of(saved)
        return self.loss.body_backward(self.phi, saved, by_features)


class BodyTape(NamedTuple):
    """What one gradient of `RepeatedBody` keeps: a pass of the body and the head's tape."""

    loss: HeadLoss
    tape: HeadTape
    saved: Any
    nbytes: int


class RepeatedBody:
    """`HeadLoss` on features that the body at φ computes again for every gradient.

    Its shared parameters are the body's: `hessian_product` returns their derivatives as one vector.
    """

    def __init__(self, loss: EpisodeLoss, phi: Tensor, *, ridge: float = 0.0) -> None:
        self.loss, self.phi, self.ridge = loss, phi, ridge

    def gradient(self, head: Tensor, *, keep: bool) -> tuple[Tensor, BodyTape | None]:
        """∇g at the head, `[tasks, ways, F+1]`."""
        features, saved = self.loss.body(self.phi)
        on_features = HeadLoss(features, self.loss.targets, ridge=self.ridge)
        gradient, tape = on_features.gradient(head, keep=keep)
        if tape is None:
            return gradient, None
        nbytes = self.loss.bytes_of(saved) + on_features.nbytes + tape.nbytes
        return gradient, BodyTape(on_features, tape, saved, nbytes)

    def hessian_product(self, tape: BodyTape, direction: Tensor) -> tuple[Tensor, Tensor]:
        """(∇²g u, ∂⟨∇g, u⟩/∂(φ, shared) `[tasks·P + tasks·S]`) at the tape's head."""
        product, by_features = tape.loss.hessian_product(tape.tape, direction)
        return product, torch.cat(self.loss.body_backward(self.phi, tape.saved, by_features))

    def split(self, by_body: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives by φ `[tasks·P]` and by shared `[tasks·S]` out of one vector."""
        by_phi, by_shared = by_body.tensor_split([self.phi.numel()])
        return by_phi, by_shared


def read_head(network: BatchedConv4, phi: Tensor, tasks: int) -> Tensor:
    """The head inside φ `[tasks·P]` (or inside a derivative by φ), `[tasks, ways, F+1]`; a copy."""
    weight, bias = network.head(phi, tasks)
    return torch.cat([weight, bias.unsqueeze(2)], 2)


def write_head(network: BatchedConv4, phi: Tensor, head: Tensor) -> Tensor:
    """φ `[tasks·P]` with this head in place of its own, which is overwritten."""
    weight, bias = network.head(phi, head.shape[0])
    weight.copy_(head[..., :-1])
    bias.copy_(head[..., -1])
    return phi


class HeadAlone(Tasks):
    """Tasks whose losses have no derivatives by φ but the head's, so that steps of any kind move
    the head alone.
    """

    def loss(self, images: Tensor, labels: Tensor) -> EpisodeLoss:
        return _OfHead(self.network, self.theta.shared, images, labels)


class _OfHead(EpisodeLoss):
    """See `HeadAlone`."""

    def evaluate(self, phi: Tensor, *, keep: bool = False) -> Evaluation:
        found = super().evaluate(phi, keep=keep)
        head = read_head(self.network, found.by_phi, self.tasks)
        by_phi = write_head(self.network, found.by_phi.zero_(), head)
        return found._replace(by_phi=by_phi)


def adapt_head(algorithm: Algorithm, tasks: Tasks, window: int, ridge: float = 0.0) -> Tensor:
    """φ `[tasks·P]` with θ's body, and its head after `test_steps` steps on the support sets."""
    phi = tasks.start()
    features, _ = tasks.support.body(phi)
    loss = HeadLoss(features, tasks.support.targets, ridge=ridge)
    start = read_head(tasks.network, phi, tasks.count)
    steps = algorithm.settings.test_steps
    head, _ = algorithm.inner_loop(loss, start, steps, window, keep=False)
    return write_head(tasks.network, phi, head)
