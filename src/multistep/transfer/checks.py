"""What is well-formed in the settings of meta-transfer cells but can't be run.

Nothing here imports torch: it runs inside Snakemake.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from multistep.plan.mistakes import unknown
from multistep.transfer.settings import Training, Transfer

if TYPE_CHECKING:
    from multistep.plan.layers import Layers


def impossible(layers: Layers, s: Training) -> Iterator[str]:
    """A line for each reason why a transfer cell with these well-formed settings can't be run."""
    if isinstance(s, Transfer):
        yield from _source(layers, s)
    for name in layers.datasets:
        dataset = layers.params.datasets[name]
        if len(dataset.images or {}) < 3:
            yield f"datasets.{name}.images: missing; transfer needs train, validation and test"
        elif dataset.images_per_class and dataset.prepare.get("split", "images") != "images":
            yield (
                f"datasets.{name}.prepare.split: {dataset.prepare['split']} splits classes, as "
                "episodes need it; transfer tests the classes that it trains"
            )
        size = dataset.prepare.get("size")
        if not s.takes(size):
            yield (
                f"{layers.path('size')}: {s.size}, but datasets.{name}.prepare.size is {size}, and "
                f"{layers.path('augmentation')} pad_crop doesn't resize"
            )
        if alone := s.alone((dataset.images or {}).get("train", 0), s.target):
            yield f"{layers.path('batch_size')}: {alone}"
    if layers.experiment.choose is not None:
        yield f"experiments.{layers.name}.choose: only few_shot has candidates; leave it out"


def _source(layers: Layers, s: Transfer) -> Iterator[str]:
    known, name = layers.params.source_networks, layers.params.source_network(s.source)
    if name not in known:
        yield from unknown(layers.path("source"), [s.source], known, "source network")
    networks = {"source_taps": known[name].architecture} if name in known else {}
    for key, network in (networks | {"target_taps": s.target}).items():
        if lacking := [tap for tap in getattr(s, key) if tap not in network.taps]:
            yield (
                f"{layers.path(key)}: {network.name} has no tap {lacking[0]}; it has "
                + ", ".join(map(str, network.taps))
            )
