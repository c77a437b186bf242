"""The inner loop of meta-transfer: published toy vectors, and plain autograd on a small network."""

import pytest
import torch
import transfer_reference as reference
from torch import Tensor

from multistep.inner.dynamics import State, Tensors
from multistep.transfer.algorithms.bilevel import Bilevel
from multistep.transfer.algorithms.first_order import FirstOrder
from multistep.transfer.inner import Drift, inner_loop, split_state
from multistep.transfer.settings import Transfer

F64 = torch.float64


class Toy:
    """L_tfr = θ Σ(φ - ½)², L_acc = ½ (φ₁² + 3 φ₂²)."""

    def __init__(self, theta: Tensor) -> None:
        self.theta, self.closure = theta, [theta]
        self.scale = torch.tensor([1.0, 3.0], dtype=F64)

    statistics = None

    def transfer(self, phi: Tensors, buffers: None = None) -> Tensor:
        return self.theta * (phi["phi"] - 0.5).square().sum()

    def accuracy(self, phi: Tensors, buffers: None = None) -> Tensor:
        return 0.5 * (self.scale * phi["phi"].square()).sum()


START = {"phi": torch.tensor([1.0, -2.0], dtype=F64)}
VELOCITY: State = {"velocity": {"phi": torch.tensor([0.1, 0.2], dtype=F64)}}
MOMENTS: State = {
    "mean": {"phi": torch.tensor([0.01, -0.02], dtype=F64)},
    "variance": {"phi": torch.tensor([0.001, 0.002], dtype=F64)},
    "step": 5,
}
# optimiser, T, n, factor of the transfer rate; φ, outer loss, d outer/dθ, first-order gradient
TOY = """
sgd 0 1 1 0.89 -1.416 3.403634 0.0 1.911578
sgd 1 1 1 0.818045 -1.143759 2.296875786134 -1.4452361285 1.401548136053
sgd 2 1 1 0.726669305 -0.793070211 1.207464678778 -2.241151988392 0.861704772202
sgd 2 2 1 0.721002455 -0.775273341 1.161495399956 -2.327592886187 0.837582089691
sgd 3 1 1 0.624302658845 -0.396677315919 0.430906244368 -1.820927091517 0.40974067994
sgd 3 3 1 0.601478162045 -0.320535974559 0.335002956188 -1.752214103975 0.341788551459
sgd 1 1 2 0.77759 -1.032618 1.901773004936 -1.884614014 1.212987071012
adam 1 1 1 0.992901550305 -1.98938242223 6.429390377115 -0.021158666014 3.2199883912
adam 2 1 1 0.98876524994 -1.982458531237 6.384041101858 -0.039515318176 3.200745914431
adam 2 2 1 0.988756566 -1.982455919385 6.384016981863 -0.039523966628 3.20073518625
adam 3 1 1 0.983797115418 -1.9746126195 6.332570877784 -0.055213870297 3.178883632737
adam 3 3 1 0.983765200208 -1.9746044212 6.332490914902 -0.055233145071 3.178847905177
adam 1 1 2 0.990692526993 -1.984886259999 6.400396039219 -0.03443382013 3.207719440589
"""


def toy_settings(optimizer: str, steps: int, window: int, factor: float, scheme: str) -> Transfer:
    return reference.settings(
        optimizer=optimizer, lr=0.1 if optimizer == "sgd" else 0.01, weight_decay=0.01,
        inner_steps=steps, window=window, transfer_lr_factor=factor, scheme=scheme,
    )  # fmt: skip


@pytest.mark.parametrize("scheme", ["keep", "replay"])
@pytest.mark.parametrize("line", TOY.strip().splitlines())
def test_toy_vectors(line: str, scheme: str) -> None:
    optimizer, steps, window, factor, *expected = line.split()
    s = toy_settings(optimizer, int(steps), int(window), float(factor), scheme)
    state = VELOCITY if s.optimizer == "sgd" else MOMENTS
    theta = {"theta": torch.tensor(0.7, dtype=F64, requires_grad=True)}
    losses = Toy(theta["theta"])
    phi, _ = inner_loop(losses, START, state, s.lr, s)
    found = Bilevel(s).meta_gradient(losses, theta, START, state, s.lr)
    first = FirstOrder(s).meta_gradient(losses, theta, START, state, s.lr)
    slopes = float(found.grads.get("theta", 0)), float(first.grads["theta"])
    values = [*phi["phi"].tolist(), found.loss.item(), *slopes]
    assert values == pytest.approx([float(v) for v in expected], abs=1e-11)


def test_absent_gradients_are_zeros_or_skips() -> None:
    """The classifier in a transfer step: momentum and decay move it, or nothing does."""
    phi = {"used": torch.ones(2, dtype=F64), "head": torch.ones(2, dtype=F64)}
    state = {"velocity": {name: torch.full((2,), 0.5, dtype=F64) for name in phi}}

    class Partial(Toy):
        def transfer(self, phi: Tensors, buffers: None = None) -> Tensor:
            return self.theta * phi["used"].square().sum()

        def accuracy(self, phi: Tensors, buffers: None = None) -> Tensor:
            return phi["used"].sum() + phi["head"].sum()

    losses = Partial(torch.tensor(0.3, dtype=F64, requires_grad=True))
    s = reference.settings(inner_steps=1, lr=0.1, weight_decay=0.0)
    end, _ = inner_loop(losses, phi, state, s.lr, s)
    v = 0.9 * 0.5
    assert end["head"][0].item() == pytest.approx(1 - 0.1 * v - 0.1 * (0.9 * v + 1))
    s = s.model_copy(update={"absent_gradients": "skip"})
    end, after = inner_loop(losses, phi, split_state(state), s.lr, s)
    assert end["head"][0].item() == pytest.approx(1 - 0.1 * (0.9 * 0.5 + 1))
    # Adam's counts then differ between parameters.
    s = s.model_copy(update={"optimizer": "adam"})
    moments = {"mean": state["velocity"], "variance": state["velocity"], "step": 3}
    _, after = inner_loop(losses, phi, split_state(moments), s.lr, s)
    assert (after["used"]["step"], after["head"]["step"]) == (5, 4)


def test_drift_compares_the_first_two_gradients() -> None:
    drift = Drift()
    for a, b in ((1.0, 5.0), (2.0, 5.0), (9.0, 9.0)):
        drift({"conv": torch.tensor([a, 0.0]), "match.0.weight": torch.tensor([b])})
    assert drift.value is not None
    assert drift.value.tolist() == pytest.approx([1 / 29**0.5, 0.5])
