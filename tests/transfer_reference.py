"""The transfer loop once more, pair by pair and step by step, for comparison; slow on purpose."""

import copy

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F
from transfer_data import SETTINGS

from multistep.inner.dynamics import Tensors
from multistep.networks.backbone import Backbone
from multistep.networks.build import build
from multistep.networks.settings import Architecture
from multistep.transfer.algorithms import Algorithm
from multistep.transfer.learner import Learner, MiniBatch
from multistep.transfer.settings import Transfer

SOURCE = Architecture(name="resnet32", width=2, blocks=1)
TARGET = Architecture(name="vgg9", width=2, blocks=1)


def settings(**changes: object) -> Transfer:
    """A tiny cell: narrow networks, two source taps, two target taps."""
    values = SETTINGS | {
        "target": TARGET, "target_taps": [0, 3], "batch_size": 4, "epochs": 2, "log_every": 1,
    }  # fmt: skip
    return Transfer.model_validate(values | changes)


def networks(dtype: torch.dtype = torch.float64) -> tuple[Backbone, Backbone]:
    """Source (frozen, with running statistics that are not trivial) and target."""
    generator = torch.Generator().manual_seed(5)
    source = build(SOURCE, 7, generator).to(dtype).eval().requires_grad_(False)
    for name, buffer in source.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1, generator=generator)
    return source, build(TARGET, 5, generator).to(dtype)


def images(dtype: torch.dtype = torch.float64, count: int = 4) -> tuple[Tensor, Tensor]:
    """A batch of 32×32 images and labels of 5 classes."""
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(count, 3, 32, 32, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.randint(0, 5, (count,), generator=generator)


def transfer_loss(
    source_maps: dict[int, Tensor], target_maps: dict[int, Tensor], phi: Tensors, theta: Tensors
) -> Tensor:
    """Σ over samples and pairs, one at a time; names as in multistep.transfer.matching."""
    losses = []
    batch = next(iter(source_maps.values())).shape[0]
    for x in range(batch):
        begin = 0
        for m, maps in source_maps.items():
            channels = maps.shape[1]
            h = maps[x].mean((1, 2))
            for index, (n, targets) in enumerate(target_maps.items()):
                a, b = theta[f"what.{m}.weight"][index], theta[f"what.{m}.bias"][index]
                what = torch.softmax(a @ h + b, 0)
                z = theta[f"where.{m}.weight"][index] @ h + theta[f"where.{m}.bias"][index]
                where = torch.clamp(z, 0, 6)
                rows = slice(begin, begin + channels)
                r = phi[f"match.{n}.weight"][rows, :, 0, 0]
                matched = torch.einsum("mc,chw->mhw", r, targets[x])
                matched = matched + phi[f"match.{n}.bias"][rows, None, None]
                size = targets.shape[2:]
                resized = F.interpolate(maps[x : x + 1], size, mode="bilinear")[0]
                distance = (matched - resized).square().mean((1, 2))
                losses.append(where * (what * distance).sum())
            begin += channels
    return torch.stack(losses).sum() / batch


class Reference:
    """The meta-gradient by plain autograd through every step, from given φ, o and θ."""

    def __init__(self, source: Backbone, target: Backbone, s: Transfer) -> None:
        self.source, self.target, self.s = source, target.train(), s

    def losses(self, phi: Tensors, theta: Tensors, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(L_acc, L_tfr) with batch statistics."""
        names = {n for n, _ in self.target.named_parameters()}
        idle = {n: b.clone() for n, b in self.target.named_buffers()}
        mine = {n: p for n, p in phi.items() if n in names}
        taps, logits = functional_call(self.target, {**mine, **idle}, (x,))
        maps, _ = self.source(x)
        chosen = {m: maps[m] for m in self.s.source_taps}, {n: taps[n] for n in self.s.target_taps}
        return F.cross_entropy(logits, y), transfer_loss(*chosen, phi, theta)

    def end(
        self, phi: Tensors, state: dict, theta: Tensors, x: Tensor, y: Tensor, lr: float
    ) -> Tensors:
        """φ after the inner loop; `window` steps share a gradient."""
        phi = {n: p.detach().requires_grad_() for n, p in phi.items()}
        names = list(phi)
        for step in range(self.s.inner_steps):
            if step % self.s.window == 0:
                _, transfer = self.losses(phi, theta, x, y)
                factor = self.s.beta if self.s.beta_in_inner_steps else 1.0
                grads = self.gradients(factor * transfer, phi)
            phi, state = self.move(phi, state, grads, lr * self.s.transfer_lr_factor)
        accuracy, _ = self.losses(phi, theta, x, y)
        phi, _ = self.move(phi, state, self.gradients(accuracy, phi), lr)
        assert list(phi) == names
        return phi

    def gradients(self, loss: Tensor, phi: Tensors) -> Tensors:
        inputs = list(phi.values())
        found = torch.autograd.grad(loss, inputs, create_graph=True, materialize_grads=True)
        return dict(zip(phi, found, strict=True))

    def move(self, phi: Tensors, state: dict, grads: Tensors, lr: float) -> tuple[Tensors, dict]:
        """One step as the textbooks write it."""
        s, new, moved = self.s, {k: {} for k in state}, {}
        if s.optimizer == "adam":
            new["step"] = state["step"] + 1
        for n, p in phi.items():
            g = grads[n] + s.weight_decay * p
            if s.optimizer == "sgd":
                v = new["velocity"][n] = s.momentum * state["velocity"][n] + g
                moved[n] = p - lr * v
                continue
            (b1, b2), k = s.adam_betas, new["step"]
            m = new["mean"][n] = b1 * state["mean"][n] + (1 - b1) * g
            q = new["variance"][n] = b2 * state["variance"][n] + (1 - b2) * g**2
            moved[n] = p - lr * (m / (1 - b1**k)) / ((q / (1 - b2**k)).sqrt() + s.adam_eps)
        return moved, new


def learner_at_work(algorithm: Algorithm) -> tuple[Learner, MiniBatch, Tensor, Tensor]:
    """A learner after three mini-batches and the ordinary update of a fourth."""
    source, target = networks()
    s = algorithm.settings
    learner = Learner(source, copy.deepcopy(target), algorithm, 0, torch.device("cpu"))
    x, y = images()
    for _ in range(3):
        learner.step(x, y, s.lr)
    # Channel weights that differ and pairs that are neither dead nor saturated.
    with torch.no_grad():
        generator = torch.Generator().manual_seed(8)
        for name, p in learner.theta.items():
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            p.copy_(2 + 0.1 * noise if name.startswith("where") else 0.5 * noise)
    batch = MiniBatch(learner, x, y)
    batch.ordinary_update(s.lr)
    return learner, batch, x, y
