"""The transfer part: one mini-batch of every method, scheme and place of the source's features."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench import transfer_loading
from bench.timing import interleave
from bench.transfer_problem import Contender, images, learner, settings, source_network
from multistep.files import UserError
from multistep.inner.dynamics import Tensors
from multistep.transfer.learner import Learner
from multistep.transfer.measure import kept_bytes

METHODS = ["l2t_0", "l2t_1", "l2t", "l2t_multistep", "l2t_3", "l2t_3_est"]
CONTENDERS = [
    Contender("scratch"),
    *(Contender(method, scheme) for scheme in ("keep", "replay") for method in METHODS),
    # The earlier work computes the source's features wherever it needs them.
    Contender("l2t", "keep", "step"),
    Contender("l2t", "replay", "step"),
    Contender("l2t_multistep", "replay", "step"),
]
BASELINE = Contender("l2t")  # its source network serves them all
CHECKED = [c for c in CONTENDERS if c.method in ("l2t", "l2t_multistep")]
SMALL, LARGE = ["sgd_32", "adam_32"], ["sgd_224", "adam_224"]
CPU_BATCH = 16
LIMIT = 1e-9  # relative distance of float64 meta-gradients


def measure(place: torch.device, rounds: int, batch: int | None) -> dict[str, Any]:
    """Times, bytes and operations of all contenders, and what loading costs.

    `batch`: images in a mini-batch; None: few on a CPU, the paper's on a GPU.
    """
    cuda = place.type == "cuda"
    size = batch or (None if cuda else CPU_BATCH)
    experiments = SMALL + (LARGE if cuda else [])
    return {
        "kind": "bench-transfer",
        "agreement": {e: agreement(e, CHECKED) for e in SMALL},
        "settings": {e: compare(e, size, place, rounds) for e in experiments},
        "loading": transfer_loading.measure(place, rounds),
    }


def agreement(experiment: str, contenders: list[Contender]) -> dict[str, float]:
    """Relative distances of the first meta-gradient from that of the same method's first way.

    In float64 on the CPU; UserError where two ways to compute one thing differ.
    """
    here, batch = torch.device("cpu"), 2
    s = settings(experiment, contenders[0], batch)
    source = copy.deepcopy(source_network(s, here)).double()
    x, y = images(s, here)
    first: dict[str, Tensor] = {}
    found: dict[str, float] = {}
    for c in contenders:
        each = learner(experiment, c, source, here, batch, torch.float64)
        gradient = meta_gradient(each, x.double(), y)
        expected = first.setdefault(c.method, gradient)
        found[c.name] = float((gradient - expected).norm() / expected.norm())
        if not found[c.name] <= LIMIT:  # catches NaN too
            raise UserError(
                f"{experiment}: the float64 meta-gradient of {c.name} is {found[c.name]:.1e} away "
                f"from another way's, more than {LIMIT:.0e}: not the same computation"
            )
    return found


def meta_gradient(each: Learner, x: Tensor, y: Tensor) -> Tensor:
    """What the first mini-batch hands to the optimiser of θ, as one vector, empty without θ."""
    handed: list[Tensor] = []
    update = each._meta_update

    def noted(grads: Tensors) -> Tensors:
        handed.extend(grads.values())
        return update(grads)

    each._meta_update = noted  # type: ignore[method-assign]
    each.step(x, y, each.settings.lr)
    return torch.cat([x.new_empty(0), *(g.flatten() for g in handed)])


def compare(experiment: str, batch: int | None, place: torch.device, rounds: int) -> dict[str, Any]:
    """Times, bytes and operations of all contenders in one setting."""
    s = settings(experiment, BASELINE, batch)
    source = source_network(s, place)
    x, y = images(s, place)
    learners = {c.name: learner(experiment, c, source, place, batch) for c in CONTENDERS}

    def job(each: Learner) -> Callable[[int], object]:
        return lambda _: each.step(x, y, each.settings.lr)

    times = interleave({n: job(each) for n, each in learners.items()}, rounds, experiment)
    return {
        "batch": s.batch_size,
        "times": times,
        "counted": {n: counted(job(each), place) for n, each in learners.items()},
    }


def counted(job: Callable[[int], object], place: torch.device) -> dict[str, int]:
    """Operations of a job's convolutions and matrix products, and its bytes (`kept_bytes`)."""
    size = kept_bytes(place, lambda: job(0))
    with FlopCounterMode(display=False) as operations:  # apart: it takes some functions to pieces
        job(0)
    return {"operations": int(operations.get_total_flops()), "bytes": size}
