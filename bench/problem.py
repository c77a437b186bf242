"""The meta-iterations that are measured: settings of params.yaml, stand-in images, one batch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from multistep.fewshot import meta
from multistep.fewshot.batched import BatchedConv4
from multistep.fewshot.episodes import Batch, Sampler, stacked
from multistep.fewshot.settings import FewShot
from multistep.inner.dynamics import Tensors
from multistep.networks.conv4 import initial_parameters
from multistep.plan import params

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Problem:
    """A meta-gradient to compute: d/dθ of the mean query loss over `batch` (all of θ).

    `s`: exact MAML's settings, or another method's; contenders that estimate replace what defines
    them. `params`: θ by the names of `Conv4`; `theta`: the same θ as the flat vectors of the
    task-batched network.
    """

    name: str
    s: FewShot
    network: BatchedConv4
    params: Tensors
    theta: meta.Theta
    sampler: Sampler
    batch: Batch


# A contender returns the mean meta-gradient, adapted part then shared, as one vector [P + S].
Contender = Callable[[Problem], Tensor]


def build(
    experiment: str, images: Tensor, tasks: int | None = None, method: str = "maml",
    filters: int | None = None,
) -> Problem:  # fmt: skip
    """An experiment of params.yaml at its initial θ (seed 0), on the device of `images` (see
    `stand_in_images`); of a thinner network if `filters` says so.
    """
    s = settings(experiment, method)
    thin = s.network.model_copy(update={"filters": filters or s.network.filters})
    s = s.model_copy(update={"meta_batch": tasks or s.meta_batch, "network": thin})
    network = meta.build_network(s, images.shape[2], 3 if images.dim() == 5 else 1)
    theta = meta.initial_theta(network, 0, images.device)
    named = {n: p.to(images.device) for n, p in initial_parameters(network.config, 0).items()}
    sampler = Sampler(*stacked(images), s.ways, s.shots, s.queries, s.rotate_train, 0, "train")
    return Problem(experiment, s, network, named, theta, sampler, sampler.batch(0, s.meta_batch))


def first_tasks(problem: Problem, tasks: int) -> Problem:
    """The same problem for the first `tasks` tasks of its batch."""
    return replace(problem, batch=problem.batch.split(tasks)[0])


def in_float64(problem: Problem) -> Problem:
    """The same problem in double precision."""
    batch = problem.batch
    return replace(
        problem,
        params={n: p.double() for n, p in problem.params.items()},
        theta=meta.Theta(problem.theta.adapted.double(), problem.theta.shared.double()),
        batch=replace(
            batch,
            support_images=batch.support_images.double(),
            query_images=batch.query_images.double(),
        ),
    )


def settings(experiment: str, method: str) -> FewShot:
    """The paper scale's settings of a cell."""
    found = params.cell_settings(paper(), experiment, method)
    assert isinstance(found, FewShot)
    return found


@functools.cache
def paper() -> params.Params:
    """params.yaml as it stands."""
    return params.load(ROOT / "params.yaml")


def stand_in_images(
    classes: int = 1200, per_class: int = 20, size: int = 28, channels: int = 1
) -> Tensor:
    """Images of Omniglot's shape and look, uint8 `[classes, per_class, size, size]`, ink 255; or
    of three channels, `[classes, per_class, size, size, 3]`, drawn one by one.

    Strokes are the zero lines of smooth random fields: one field per class, and a weaker one per
    image. Pure noise would not do: inner loops on it diverge, and inf, NaN and denormal numbers
    falsify timings.
    """
    generator = torch.Generator().manual_seed(0)

    def field(*shape: int) -> Tensor:
        coarse = torch.randn((*shape, channels, 5, 5), generator=generator)
        fine = F.interpolate(coarse.flatten(0, -4), size, mode="bicubic")
        return fine.view(*shape, channels, size, size)

    lines = field(classes, 1) + 0.25 * field(classes, per_class)
    images = lines.div_(0.12).square_().neg_().exp_().mul_(255).to(torch.uint8)
    return images.squeeze(2) if channels == 1 else images.movedim(2, 4)
