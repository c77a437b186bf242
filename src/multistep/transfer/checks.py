"""What is well-formed in the settings of meta-transfer cells but can't be run.

Nothing here imports torch: it runs inside Snakemake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multistep.plan.mistakes import unknown
from multistep.transfer.settings import Training, Transfer
from multistep.transfer.source_settings import Batching

if TYPE_CHECKING:
    from multistep.data.prepared import Description
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
    known, name = layers.params.source_networks, layers.params.used(s.source)
    if name not in known:
        yield from unknown(layers.path("source"), [s.source], known, "source network")
    elif lacking := known[name].architecture.lacks(s.source_taps):
        yield f"{layers.path('source_taps')}: {lacking}"


def unfit(s: Training, data: Description, network: Path | None) -> Iterator[str]:
    """A line for each key of a cell that can't be run on prepared data, or with the source network
    in a folder, by what these say of themselves.
    """
    if isinstance(s, Transfer) and network is None:
        yield f"settings.source: {s.source}, but --network with its folder is missing"
    elif isinstance(s, Transfer) and network is not None:
        from multistep.transfer import source_record  # numpy, which a plan needn't import

        made, _ = source_record.describe(network)
        if lacking := made.settings.architecture.lacks(s.source_taps):
            yield f"settings.source_taps: {lacking} ({network})"
    parts = data.counts()
    train = parts.pop("train")
    if any(counts.keys() - train.keys() for counts in parts.values()):
        yield (
            f"dataset: a class of {data.name} has no training image; choose a dataset that splits "
            "images, not classes"
        )
    if alone := s.alone(train.total(), s.target):
        yield f"settings.batch_size: {alone}"
    if not s.takes(None if data.shapes else data.size or s.size):
        of = "several sizes" if data.shapes else data.size
        yield (
            f"settings.size: {s.size}, but the images of {data.name} are of {of}, and pad_crop "
            "doesn't resize; choose another dataset, or augmentation random_resized_crop"
        )


def unlike(methods: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line for each setting that keeps methods from being timed side by side, on the same
    mini-batches and from one source network.
    """
    for key in (*Batching.model_fields, "source"):
        has = {method: settings[key] for method, settings in methods.items() if key in settings}
        first = next(iter(has), "")
        if other := next((method for method in has if has[method] != has[first]), None):
            yield (
                f"{first} has {key} {has[first]} and {other} {has[other]}, but what is measured "
                "together shares mini-batches and source network; name methods that are alike"
            )
