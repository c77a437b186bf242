"""What is well-formed in the settings of few-shot cells but can't be run.

Nothing here imports torch: it runs inside Snakemake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from multistep.data import class_splits
from multistep.data.settings import Dataset
from multistep.fewshot import algorithms
from multistep.fewshot.settings import FewShot
from multistep.files import UserError
from multistep.networks.settings import sides
from multistep.plan.choose import protocol
from multistep.plan.mistakes import explain
from multistep.settings import repeated

if TYPE_CHECKING:
    from multistep.data.prepared import Description
    from multistep.plan.layers import Layers
    from multistep.plan.schema import Choose


def impossible(layers: Layers, s: FewShot) -> Iterator[str]:
    """A line for each reason why a few-shot cell with these well-formed settings can't be run."""
    algorithm = algorithms.get(layers.algorithm)
    try:
        algorithm.Options.model_validate(s.options)
        algorithm(s)
    except ValidationError as error:
        own = f"methods.{layers.method}.settings"  # where what only this algorithm has belongs
        place = partial(layers.path, "options", else_in=own)
        yield from explain(error, algorithm.Options, place)
    except UserError as error:  # names the setting that has to change
        key, _, problem = str(error).partition(": ")
        yield f"{layers.path(*key.split('.'))}: {problem}"
    for name in layers.datasets:
        dataset = layers.params.datasets[name]
        size = dataset.prepare.get("size", 0)
        if size is None:
            yield f"datasets.{name}.prepare.size: null; episodes need images of one size"
        elif size and sides(s.network.geometry, size)[-1] < 1:
            yield (
                f"datasets.{name}.prepare.size: {size}, of which nothing is left after four blocks "
                f"of {layers.path('network', 'geometry')} {s.network.geometry}; choose larger ones"
            )
        committed = class_splits.list_file(dataset.loader, str(dataset.prepare.get("split")))
        if committed.exists() and dataset.classes != (n := sum(_committed(committed).values())):
            yield f"datasets.{name}.classes: {dataset.classes}, but prepare.split lists {n}"
        if s.ways > dataset.classes:
            yield (
                f"{layers.path('ways')}: {s.ways} ways, but datasets.{name} has "
                f"{dataset.classes} classes"
            )
        elif counts := _class_counts(dataset, s.hold_out_validation):
            part = min(counts, key=lambda part: counts[part])
            if s.ways > counts[part]:
                yield (
                    f"{layers.path('ways')}: {s.ways} ways, but datasets.{name} has {counts[part]} "
                    f"{part} classes (prepare.split: {dataset.prepare['split']})"
                )
        if dataset.images_per_class is None:
            yield f"datasets.{name}.images_per_class: missing; episodes need it"
        elif s.shots + s.queries > dataset.images_per_class:
            yield (
                f"{layers.path('queries')}: {s.queries} queries + {s.shots} shots "
                f"({layers.path('shots')}) exceed the {dataset.images_per_class} images per class "
                f"of datasets.{name}"
            )
    if layers.choose is not None:
        yield from _candidate(layers, s, layers.choose)


def unfit(s: FewShot, data: Description, network: Path | None) -> Iterator[str]:
    """A line for each key of a cell that can't be run on prepared data, by what these say of
    themselves; there is no source network.
    """
    if data.shapes is not None:
        yield f"dataset: the images of {data.name} are of several sizes; episodes need one"
    geometry = s.network.geometry
    if data.size and sides(geometry, data.size)[-1] < 1:
        yield (
            f"dataset: the images of {data.name} are of {data.size}, of which nothing is left "
            f"after four blocks of settings.network.geometry {geometry}; choose larger ones"
        )
    parts = data.counts()
    if repeated(label for counts in parts.values() for label in counts):
        yield (
            f"dataset: a class of {data.name} stands in two parts, so there are none to draw "
            "episodes from; choose a dataset that splits classes"
        )
        return
    if not s.hold_out_validation:
        parts["train"] += parts.pop("validation")
    for part, counts in parts.items():
        if s.ways > len(counts):
            yield f"settings.ways: {s.ways} ways, but {data.name} has {len(counts)} {part} classes"
        elif s.shots + s.queries > (least := min(counts.values())):
            yield (
                f"settings.queries: {s.queries} queries + {s.shots} shots exceed the {least} "
                f"images of a {part} class of {data.name}"
            )


def unlike(methods: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """As of meta-transfer; here each method is timed on tasks of its own."""
    yield from ()


def _class_counts(dataset: Dataset, hold_out_validation: bool) -> dict[str, int]:
    """Classes that episodes of each part are drawn from; empty if only the data can tell."""
    split = dataset.prepare.get("split")
    archives = list(dataset.archives.values())
    counts: dict[str, int] = {}
    if (file := class_splits.list_file(dataset.loader, str(split))).exists():
        counts = dict(_committed(file))
    elif dataset.loader == "omniglot" and split == "sorted":
        counts = dict(zip(class_splits.PARTS, class_splits.SIZES, strict=True))
    elif dataset.loader == "omniglot" and split == "proportional" and dataset.classes >= 3:
        parts = class_splits.split(split, [str(i) for i in range(dataset.classes)], "")
        counts = {part: len(parts[part]) for part in parts}
    elif dataset.loader == "image_folder" and split == "classes":
        counts = {part: dataset.prepare[part] for part in ("validation", "test")}
        counts["train"] = dataset.classes - sum(counts.values())
    elif split == "listed" and len(archives) == 1 and archives[0].drawn is not None:
        counts = {part: archives[0].drawn[part] for part in class_splits.PARTS}
    if counts and not hold_out_validation:
        counts["train"] += counts.pop("validation")
    return counts


@cache
def _committed(file: Path) -> dict[str, int]:
    """Classes of each part of a committed list."""
    parts = class_splits.read_list(file)
    return {part: len(parts[part]) for part in class_splits.PARTS}


def _candidate(layers: Layers, s: FewShot, choose: Choose) -> Iterator[str]:
    """Candidates are scored on the validation classes, so there are some; by one protocol."""
    path = f"experiments.{layers.name}.choose"
    if wrong := protocol(choose.setting):
        yield f"{path}.setting: {wrong}"
    elif not s.hold_out_validation:
        yield f"{path}: candidates need validation classes; set hold_out_validation to true"
    elif s.validate_every > s.iterations:
        yield (
            f"{path}.settings: validate_every is {s.validate_every}, but a candidate "
            f"has only {s.iterations} iterations; choose less"
        )
    said = [("setting", choose.setting, choose.setting)]
    said += [(f"settings.{key}", key, value) for key, value in choose.settings.items()]
    for place, key, value in said:
        if key not in FewShot.model_fields:
            yield f"{path}.{place}: {value}, but no candidate is tested; leave it out"
    if twice := repeated(f"{value:g}" for value in choose.values):
        yield f"{path}.values: two of them are {twice[0]} with six digits; candidates need names"
