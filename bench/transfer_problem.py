"""The mini-batches of the transfer part: settings of params.yaml, noise, a random source network.

Nothing is downloaded. Batch norm of the source network has the statistics of one batch of noise:
without them features of an untrained network grow from block to block. Rates are a hundredth of
the experiment's, so that a few steps on one batch leave all numbers ordinary. None of it changes
what is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.problem import paper
from multistep.networks.backbone import Backbone
from multistep.networks.build import build
from multistep.plan import params
from multistep.transfer import algorithms
from multistep.transfer.learner import Learner
from multistep.transfer.settings import Training, Transfer

CLASSES = 100


@dataclass(frozen=True)
class Contender:
    """A method of params.yaml and how it is computed."""

    method: str
    scheme: str = "keep"
    source_features: str = "batch"

    @property
    def name(self) -> str:
        """Its key in the record."""
        if self.method == "scratch":
            return self.method
        return "/".join((self.method, self.scheme, self.source_features))


def settings(experiment: str, c: Contender, batch: int | None) -> Training:
    """An experiment's settings with the contender's and the benchmark's own in them."""
    s = params.cell_settings(paper(), experiment, c.method)
    assert isinstance(s, Training)
    changed: dict[str, Any] = {"lr": s.lr / 100, "batch_size": batch or s.batch_size}
    if isinstance(s, Transfer):
        changed |= {"scheme": c.scheme, "source_features": c.source_features}
    return s.model_copy(update=changed)


def source_network(s: Training, place: torch.device) -> Backbone:
    """The source network of the settings, with random weights."""
    assert isinstance(s, Transfer), "scratch has no source network"
    about = paper().source_networks[s.source]
    network = build(about.architecture, about.classes, torch.Generator().manual_seed(1)).to(place)
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0  # the statistics are those of the last batch
    with torch.no_grad():
        network.train()(images(s, place)[0])
    return network.eval()


def images(s: Training, place: torch.device) -> tuple[Tensor, Tensor]:
    """A mini-batch of noise and its labels."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(s.batch_size, 3, s.size, s.size, generator=generator)
    y = torch.randint(CLASSES, (s.batch_size,), generator=generator)
    return x.to(place), y.to(place)


def learner(
    experiment: str, c: Contender, source: Backbone, place: torch.device, batch: int | None,
    dtype: torch.dtype = torch.float32,
) -> Learner:  # fmt: skip
    """A learner at its first step; `source` is of the same `dtype`."""
    return learner_of(settings(experiment, c, batch), c.method, source, place, dtype)


def learner_of(
    s: Training, method: str, source: Backbone, place: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Learner:  # fmt: skip
    """The same for a method with these settings."""
    algorithm = algorithms.get(paper().methods[method].algorithm)(s)
    target = build(s.target, CLASSES, torch.Generator().manual_seed(0)).to(dtype)
    return Learner(source, target, algorithm, 0, place)
