"""What is well-formed in params.yaml but can't be run, each mistake with the keys that clash; what
a family alone knows is in its own `checks`.

Nothing here imports torch: it runs inside Snakemake.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from importlib.util import find_spec
from typing import Any

from pydantic import ValidationError

from multistep.data import loaders
from multistep.data.settings import Archive
from multistep.declared import imported
from multistep.files import UserError, own_path
from multistep.plan import families
from multistep.plan.layers import Layers
from multistep.plan.mistakes import explain, unknown
from multistep.plan.schema import Params
from multistep.settings import Model, repeated

RESERVED = ("choices", "measure", "results")  # folders of and in results/


def references(params: Params) -> Iterator[str]:
    """Names that point nowhere."""
    home = "." if params.scale == "paper" else f"scales/{params.scale}"
    if params.directory != home:
        yield f"directory: the scale {params.scale!r} builds in {home!r}, not elsewhere"
    yield from unknown("only", params.only or [], params.experiments, "experiment")
    for name in params.only or []:
        if name in params.experiments and name not in params.run:
            family = params.experiments[name].family
            yield f"only: {name} is of {family}, which `families` leaves out; name both or neither"
    if not any(e.datasets and e.methods for e in params.run.values()):
        which = "`families`" if params.only is None else "`only`"
        yield f"experiments: none of {which} has datasets and methods: nothing would run"
    for name, stand_in in params.stand_ins.items():
        yield from unknown("stand_ins", [name], params.archived, "dataset or source network")
        of_networks = name in params.source_networks
        among: Collection[str] = params.source_networks if of_networks else params.datasets
        what = "source network" if of_networks else "dataset"
        yield from unknown(f"stand_ins.{name}", [stand_in], among, what)
        if stand_in in params.stand_ins:
            yield f"stand_ins.{name}: {stand_in!r} has a stand-in itself; name that one"
    yield from unknown("sources", params.sources, params.archived, "dataset or source network")
    for name, folder in params.sources.items():
        try:
            own_path(folder)
        except UserError as error:
            yield f"sources.{name}: {error}"
    for name in set(params.datasets) & set(params.source_networks):
        yield f"source_networks.{name}: a dataset has this name; choose another"
    for name, network in params.source_networks.items():
        if network.dataset is not None:
            path = f"source_networks.{name}.dataset"
            yield from unknown(path, [network.dataset], params.datasets, "dataset")
    for name, dataset in params.datasets.items():
        yield from unknown(f"datasets.{name}.loader", [dataset.loader], loaders.names(), "loader")
    for what in ("datasets", "methods", "experiments"):
        for name in getattr(params, what).keys() & {*RESERVED}:
            yield f"{what}.{name}: the name is taken by a folder of results; choose another"
    known = {family: families.module(family, "algorithms").names() for family in families.FAMILIES}
    everywhere = [algorithm for each in known.values() for algorithm in each]
    for name, method in params.methods.items():
        path = f"methods.{name}.algorithm"
        yield from unknown(path, [method.algorithm], everywhere, "algorithm")
    for name, experiment in params.experiments.items():
        yield from _experiment(params, name, known[experiment.family], everywhere)


def _experiment(params: Params, name: str, own: list[str], everywhere: list[str]) -> Iterator[str]:
    """The same of one experiment, whose family has its `own` algorithms of those `everywhere`."""
    path, experiment = f"experiments.{name}", params.experiments[name]
    choose, others = experiment.choose, {*everywhere} - {*own}  # what is none at all is told before
    named = {"methods": experiment.methods, "overrides": experiment.overrides}
    named |= {"method_seeds": [*experiment.method_seeds]}
    named |= {"choose.methods": choose.methods} if choose else {}
    for key, names in named.items():
        yield from unknown(f"{path}.{key}", names, params.methods, "method")
        for method in names:
            algorithm = getattr(params.methods.get(method), "algorithm", None)
            if algorithm in others:
                yield (
                    f"{path}.{key}: {method} has the algorithm {algorithm!r}, which the family "
                    f"{experiment.family} doesn't have; it has: {', '.join(own)}"
                )
    if (measured := experiment.measured) is not None:
        at = f"{path}.measured.datasets"
        yield from unknown(at, measured.datasets, params.datasets, "dataset")
        for dataset in measured.datasets:
            # An overlay that runs nothing of an experiment needn't say that nothing is timed.
            if dataset in params.datasets and dataset not in (experiment.datasets or [dataset]):
                yield f"{at}: {dataset} is none of {path}.datasets; add it there or leave it out"
        of_family = {n for n, m in params.methods.items() if m.algorithm not in others}
        yield from unknown(f"{path}.measured.methods", measured.methods, of_family, "method")
    yield from unknown(f"{path}.datasets", experiment.datasets, params.datasets, "dataset")
    used = [params.used(dataset) for dataset in experiment.datasets]
    if name in params.run and (twice := repeated(used)):
        both = [d for d in experiment.datasets if params.used(d) == twice[0]]
        yield f"{path}.datasets: {' and '.join(both)} are {twice[0]} here (stand_ins)"
    if choose is not None:
        if choose.setting in choose.settings:
            yield f"{path}.choose.settings.{choose.setting}: candidates try `values`; leave it out"
        alike = f"{name}-{choose.setting}-"  # what its candidates are called
        for other in params.experiments:
            if other.startswith(alike):
                yield f"experiments.{other}: a name of candidates of {name}; choose another"


def data(params: Params) -> Iterator[str]:
    """What loaders and stand-ins are given, and what source networks are made from."""
    yield from _source_networks(params)
    for name, dataset in params.datasets.items():
        path = f"datasets.{name}"
        loader = f"multistep.data.loaders.{dataset.loader}"
        yield from _fits(f"{path}.prepare.", loader, dataset.prepare)
        for archive_name, archive in dataset.archives.items():
            at = f"{path}.archives.{archive_name}"
            yield from _archive(at, archive)
            stand_in = f"multistep.data.standins.{dataset.loader}"
            if archive.drawn is not None and find_spec(stand_in) is None:
                yield f"{at}.drawn: the loader {dataset.loader} has no stand-in to draw"
            elif archive.drawn is not None:
                yield from _fits(f"{at}.drawn.", stand_in, archive.drawn)


def _fits(path: str, module: str, settings: dict[str, Any]) -> Iterator[str]:
    try:
        model: type[Model] = imported(module, Settings=Model).Settings
        model.model_validate(settings)
    except UserError as error:
        yield str(error)
    except ValidationError as error:
        yield from explain(error, model, path)


def _archive(path: str, archive: Archive) -> Iterator[str]:
    """An archive without `urls` is one that users bring: `sources` says where it lies."""
    if archive.drawn is None and not archive.verifiable:
        yield f"{path}: needs `urls` and `sha256`, or `drawn` for a stand-in"


def _source_networks(params: Params) -> Iterator[str]:
    for name, network in params.source_networks.items():
        path = f"source_networks.{name}"
        for archive_name, archive in network.archives.items():
            yield from _archive(f"{path}.archives.{archive_name}", archive)
            if archive.drawn is not None:
                yield f"{path}.archives.{archive_name}.drawn: a network can't be drawn"
        if len(network.archives) > 1 or bool(network.archives) != bool(network.layout):
            yield f"{path}.archives: one file of weights with its `layout`, or neither"
        if not network.archives and (network.train is None or network.dataset is None):
            yield f"{path}: needs weights under `archives`, or `train` and `dataset`"
        if (train := network.train) and train.size < (least := network.architecture.smallest):
            yield f"{path}.train.size: {train.size}; its architecture needs {least} at least"
        if network.dataset is not None and name not in params.stand_ins:
            dataset = params.used(network.dataset)
            of = params.datasets[dataset]
            if network.classes != of.classes:
                yield (
                    f"{path}.classes: {network.classes}, but datasets.{dataset} has {of.classes} "
                    "classes"
                )
            if len(of.images or {}) < 3:
                yield f"{path}.dataset: {dataset} states no `images` of three parts"
            size = of.prepare.get("size")
            if train and not network.archives and not train.takes(size):
                yield (
                    f"{path}.train.size: {train.size}, but datasets.{dataset}.prepare.size is "
                    f"{size}, and pad_crop doesn't resize"
                )
            count = (of.images or {}).get("train", 0)
            if train and not network.archives and (why := train.alone(count, network.architecture)):
                yield f"{path}.train.batch_size: {why}"


def impossible(layers: Layers, settings: Any) -> Iterator[str]:
    """A line for each reason why a cell with these well-formed settings can't be run."""
    yield from settings.clashes(layers.path)
    yield from families.module(layers.experiment.family, "checks").impossible(layers, settings)
