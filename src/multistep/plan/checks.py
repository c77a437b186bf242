"""What is well-formed in params.yaml but can't be run, each mistake with the keys that clash.

Nothing here imports torch: it runs inside Snakemake.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from multistep.data import class_splits, loaders
from multistep.data.settings import Archive, Dataset
from multistep.fewshot.settings import FewShot, Tested
from multistep.files import UserError
from multistep.plan import families
from multistep.plan.layers import Layers
from multistep.plan.mistakes import explain, unknown
from multistep.plan.schema import Choose, Params
from multistep.settings import repeated
from multistep.transfer.settings import Training, Transfer


def references(params: Params) -> list[str]:
    """Names that point nowhere."""
    found: list[str] = []
    home = "." if params.scale == "paper" else f"scales/{params.scale}"
    if params.directory != home:
        found.append(f"directory: the scale {params.scale!r} builds in {home!r}, not elsewhere")
    found += unknown("only", params.only or [], params.experiments, "experiment")
    if not any(e.datasets and e.methods for e in params.run.values()):
        which = "`families`" if params.only is None else "`only`"
        found.append(f"experiments: none of {which} has datasets and methods: nothing would run")
    archived = {**params.datasets, **params.source_networks}
    for name, stand_in in params.stand_ins.items():
        found += unknown("stand_ins", [name], archived, "dataset or source network")
        of_networks = name in params.source_networks
        among: Collection[str] = params.source_networks if of_networks else params.datasets
        what = "source network" if of_networks else "dataset"
        found += unknown(f"stand_ins.{name}", [stand_in], among, what)
        if stand_in in params.stand_ins:
            found.append(f"stand_ins.{name}: {stand_in!r} has a stand-in itself; name that one")
    found += unknown("sources", params.sources, archived, "dataset or source network")
    for name in set(params.datasets) & set(params.source_networks):
        found.append(f"source_networks.{name}: a dataset has this name; choose another")
    for name, network in params.source_networks.items():
        if network.dataset is not None:
            path = f"source_networks.{name}.dataset"
            found += unknown(path, [network.dataset], params.datasets, "dataset")
    for name, dataset in params.datasets.items():
        found += unknown(f"datasets.{name}.loader", [dataset.loader], loaders.names(), "loader")
    known = {family: families.module(family, "algorithms").names() for family in families.FAMILIES}
    for name, method in params.methods.items():
        everywhere = [algorithm for each in known.values() for algorithm in each]
        path = f"methods.{name}.algorithm"
        found += unknown(path, [method.algorithm], everywhere, "algorithm")
    for name, experiment in params.experiments.items():
        path = f"experiments.{name}"
        for method_name in experiment.methods:
            algorithm = getattr(params.methods.get(method_name), "algorithm", None)
            if algorithm and algorithm not in known[experiment.family]:
                found.append(
                    f"{path}.methods: {method_name} has the algorithm {algorithm!r}, which the "
                    f"family {experiment.family} doesn't have; it has: "
                    + ", ".join(known[experiment.family])
                )
        if (measured := experiment.measured) is not None:
            at = f"{path}.measured"
            # An overlay that runs nothing of an experiment needn't say that nothing is timed.
            own = experiment.datasets or params.datasets
            found += unknown(f"{at}.datasets", measured.datasets, own, "dataset")
            of_family = {
                n for n, m in params.methods.items() if m.algorithm in known[experiment.family]
            }
            found += unknown(f"{at}.methods", measured.methods, of_family, "method")
        if name == "measure":
            found.append(f"{path}: the name is taken by results/measure; choose another")
        found += unknown(f"{path}.datasets", experiment.datasets, params.datasets, "dataset")
        found += unknown(f"{path}.methods", experiment.methods, params.methods, "method")
        found += unknown(f"{path}.overrides", experiment.overrides, params.methods, "method")
        if (choose := experiment.choose) is not None:
            alike = f"{name}-{choose.setting}-"  # what its candidates are called
            for other in params.experiments:
                if other.startswith(alike):
                    found.append(
                        f"experiments.{other}: a name of candidates of {name}; choose another"
                    )
            found += unknown(f"{path}.choose.methods", choose.methods, params.methods, "method")
    return found


def data(params: Params) -> list[str]:
    """What loaders and stand-ins are given, and what source networks are made from."""
    found = _source_networks(params)
    for name, dataset in params.datasets.items():
        path = f"datasets.{name}"
        loader = f"multistep.data.loaders.{dataset.loader}"
        found += _fits(f"{path}.prepare.", loader, dataset.prepare)
        for archive_name, archive in dataset.archives.items():
            at = f"{path}.archives.{archive_name}"
            found += _archive(at, archive)
            if archive.drawn is not None:
                stand_in = f"multistep.data.standins.{dataset.loader}"
                found += _fits(f"{at}.drawn.", stand_in, archive.drawn)
    return found


def _fits(path: str, module: str, settings: dict[str, Any]) -> list[str]:
    model: type[BaseModel] = importlib.import_module(module).Settings
    try:
        model.model_validate(settings)
    except ValidationError as error:
        return explain(error, model, path)
    return []


def _archive(path: str, archive: Archive) -> list[str]:
    """An archive without `urls` is one that users bring: `sources` says where it lies."""
    if archive.drawn is not None or archive.verifiable:
        return []
    return [f"{path}: needs `urls` and `sha256`, or `drawn` for a stand-in"]


def _source_networks(params: Params) -> list[str]:
    found: list[str] = []
    for name, network in params.source_networks.items():
        path = f"source_networks.{name}"
        for archive_name, archive in network.archives.items():
            found += _archive(f"{path}.archives.{archive_name}", archive)
            if archive.drawn is not None:
                found.append(f"{path}.archives.{archive_name}.drawn: a network can't be drawn")
        if len(network.archives) > 1 or bool(network.archives) != bool(network.layout):
            found.append(f"{path}.archives: one file of weights with its `layout`, or neither")
        if not network.archives and (network.train is None or network.dataset is None):
            found.append(f"{path}: needs weights under `archives`, or `train` and `dataset`")
    return found


def impossible(layers: Layers, settings: Any) -> Iterator[str]:
    """A line for each reason why a cell with these well-formed settings can't be run."""
    yield from _steps(layers, settings)
    if isinstance(settings, FewShot):
        yield from _few_shot(layers, settings)
        if layers.choose is not None:
            yield from _candidate(layers, settings, layers.choose)
    if isinstance(settings, Transfer):
        yield from _source(layers, settings)
    if isinstance(settings, Training):
        yield from _training(layers, settings)


def _steps(layers: Layers, s: Any) -> Iterator[str]:
    for key in ("inner_steps", "test_steps"):
        steps, window = getattr(s, key, 0), getattr(s, "window", 1)
        if steps % window:
            yield (
                f"{layers.path(key)}: {steps} steps are not divisible by "
                f"{layers.path('window')}={window}; choose a multiple of the window"
            )


def _source(layers: Layers, s: Transfer) -> Iterator[str]:
    known = layers.params.source_networks
    if layers.params.source_network(s.source) not in known:
        yield from unknown(layers.path("source"), [s.source], known, "source network")
    source = known.get(layers.params.source_network(s.source))
    for key, network in (
        ("source_taps", source.architecture if source else None),
        ("target_taps", s.target),
    ):
        lacking = [tap for tap in getattr(s, key) if network and tap not in network.taps]
        if network and lacking:
            yield (
                f"{layers.path(key)}: {network.name} has no tap {lacking[0]}; it has "
                + ", ".join(map(str, network.taps))
            )


def _training(layers: Layers, s: Training) -> Iterator[str]:
    for name in layers.datasets:
        dataset = layers.params.datasets[name]
        if len(dataset.images or {}) < 3:
            yield f"datasets.{name}.images: missing; transfer needs train, validation and test"
        size = dataset.prepare.get("size")
        if s.augmentation == "pad_crop" and size != s.size:
            yield (
                f"{layers.path('size')}: {s.size}, but datasets.{name}.prepare.size is {size}, and "
                f"{layers.path('augmentation')} pad_crop doesn't resize"
            )
    if layers.experiment.choose is not None:
        yield f"experiments.{layers.name}.choose: only few_shot has candidates; leave it out"


def _few_shot(layers: Layers, s: FewShot) -> Iterator[str]:
    if s.hold_out_validation and s.validate_every % s.log_every:
        yield (
            f"{layers.path('validate_every')}: {s.validate_every} is not a multiple of "
            f"{layers.path('log_every')}={s.log_every}; the history has a line per log_every "
            "iterations"
        )
    if isinstance(s, Tested) and s.selection == "best" and not s.hold_out_validation:
        yield (
            f"{layers.path('selection')}: best needs validation classes; set "
            f"{layers.path('hold_out_validation')} to true, or choose last"
        )
    algorithm = families.module("few_shot", "algorithms").get(layers.algorithm)
    try:
        algorithm.Options.model_validate(s.options)
        algorithm(s)
    except ValidationError as error:
        yield from explain(error, algorithm.Options, lambda *keys: layers.path("options", *keys))
    except UserError as error:  # names the setting that has to change
        key, _, problem = str(error).partition(": ")
        yield f"{layers.path(*key.split('.'))}: {problem}"
    for name in layers.datasets:
        dataset = layers.params.datasets[name]
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
    """Candidates are scored on the validation classes, so there have to be some."""
    path = f"experiments.{layers.name}.choose"
    if not s.hold_out_validation:
        yield f"{path}: candidates need validation classes; set hold_out_validation to true"
    elif s.validate_every > s.iterations:
        yield (
            f"{path}.settings: validate_every is {s.validate_every}, but a candidate "
            f"has only {s.iterations} iterations; choose less"
        )
    if tested := choose.settings.get("test_episodes"):
        yield f"{path}.settings.test_episodes: {tested}, but no candidate is tested; leave it out"
    if twice := repeated(f"{value:g}" for value in choose.values):
        yield f"{path}.values: two of them are {twice[0]} with six digits; candidates need names"
