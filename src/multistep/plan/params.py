"""`params.yaml`: read, merge overlays, and check before any job.

`validate` turns the merged configuration into typed, frozen settings, or raises one `UserError`
that has a line for every mistake: the path of the key, what is wrong, and what would be right.
Nothing here imports torch: it runs inside Snakemake.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from multistep.data.settings import Archive
from multistep.fewshot.settings import FewShot
from multistep.files import UserError
from multistep.plan.checks import impossible, impossible_candidate
from multistep.plan.families import FAMILIES, algorithms
from multistep.plan.mistakes import explain, unknown
from multistep.plan.schema import Choose, Params, loaders
from multistep.transfer.settings import Training


def load(*files: Path) -> Params:
    """Read params.yaml and overlays, merge them in order, validate."""
    merged: dict[str, Any] = {}
    for file in files:
        merged = merge(merged, read(file))
    return validate(merged)


def read(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file, not yet validated."""
    try:
        layer = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not valid YAML: {error}") from None
    if not isinstance(layer, dict):
        raise UserError(f"{file}: must hold a mapping of keys, like params.yaml")
    return layer


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, as Snakemake does: mappings key by key, the rest replaced."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        result[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return result


def validate(config: dict[str, Any]) -> Params:
    """The typed parameters, or one `UserError` with a line per mistake."""
    for form in ("tables", "figures"):
        if form in config:
            raise UserError(
                f"{form}: no part of params.yaml; a page is workflow/report/{form}/*.yaml"
            )
    try:
        params = Params.model_validate(config)
    except ValidationError as error:
        raise UserError(_report(explain(error, Params))) from None
    mistakes = _references(params) or _possible(params)
    if mistakes:
        raise UserError(_report(mistakes))
    return params


def cell_settings(params: Params, experiment: str, method: str) -> FewShot | Training:
    """Settings of a cell: the family's, then the experiment's, the method's, and the method's in
    this experiment; those that its algorithm doesn't read are left out.
    """
    of = params.experiments[experiment]
    merged: dict[str, Any] = getattr(params, of.family)
    for layer in (of.settings, params.methods[method].settings, of.overrides.get(method, {})):
        merged = merge(merged, layer)
    model = algorithms(of.family).get(params.methods[method].algorithm).Settings
    unread = FAMILIES[of.family].model_fields.keys() - model.model_fields.keys()
    settings: FewShot | Training = model.model_validate(
        {key: value for key, value in merged.items() if key not in unread}
    )
    return settings


def candidate_settings(params: Params, experiment: str, method: str, choose: Choose) -> FewShot:
    """Settings of a method's candidates, but for the value of each; none is ever tested."""
    merged = merge(cell_settings(params, experiment, method).model_dump(), choose.settings)
    return FewShot.model_validate(merged | {"test_episodes": 0})


def _references(params: Params) -> list[str]:
    """Names that point nowhere."""
    found: list[str] = []
    home = "." if params.scale == "paper" else f"scales/{params.scale}"
    if params.directory != home:
        found.append(f"directory: the scale {params.scale!r} builds in {home!r}, not elsewhere")
    archived = {**params.datasets, **params.source_networks}
    for name, stand_in in params.stand_ins.items():
        found += unknown("stand_ins", [name], archived, "dataset or source network")
        of_networks = name in params.source_networks
        among: Collection[str] = params.source_networks if of_networks else params.datasets
        what = "source network" if of_networks else "dataset"
        found += unknown(f"stand_ins.{name}", [stand_in], among, what)
    found += unknown("sources", params.sources, archived, "dataset or source network")
    for name in set(params.datasets) & set(params.source_networks):
        found.append(f"source_networks.{name}: a dataset has this name; choose another")
    for name, network in params.source_networks.items():
        if network.dataset is not None:
            path = f"source_networks.{name}.dataset"
            found += unknown(path, [network.dataset], params.datasets, "dataset")
    for name, dataset in params.datasets.items():
        found += unknown(f"datasets.{name}.loader", [dataset.loader], loaders(), "loader")
    known = {family: algorithms(family).names() for family in FAMILIES}
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
            found += unknown(f"{path}.choose.methods", choose.methods, params.methods, "method")
    return found


def _possible(params: Params) -> list[str]:
    """Values that are well-formed but can't be run. A line names the key that has to change."""
    mistakes = _datasets(params) + _source_networks(params) + _layers(params)
    if mistakes:
        return mistakes
    for name, experiment in params.experiments.items():
        for method in experiment.methods if experiment.datasets else []:
            try:
                s = cell_settings(params, name, method)
            except ValidationError as error:  # each layer is right by itself: something is missing
                family = experiment.family
                mistakes += explain(error, FAMILIES[family], prefix=f"{family}.")
                continue
            mistakes += impossible(params, name, method, s)
            choose = experiment.choose
            if isinstance(s, FewShot) and choose is not None and method in choose.methods:
                candidates = candidate_settings(params, name, method, choose)
                mistakes += impossible_candidate(params, name, method, choose, candidates)
    return list(dict.fromkeys(mistakes))


def _datasets(params: Params) -> list[str]:
    """What a loader and its stand-in are given, checked by their own models."""
    found: list[str] = []
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
        return explain(error, model, prefix=path)
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
            found.append(f"{path}.archives: one checkpoint with its `layout`, or none of both")
        if not network.archives and (network.train is None or network.dataset is None):
            found.append(f"{path}: needs a checkpoint under `archives`, or `train` and `dataset`")
    return found


def _layers(params: Params) -> list[str]:
    """Unknown keys and wrong types in each layer of settings, missing ones allowed."""
    layers = [(family, family, getattr(params, family)) for family in FAMILIES]
    for name, experiment in params.experiments.items():
        layers.append((f"experiments.{name}.settings", experiment.family, experiment.settings))
        for of, layer in experiment.overrides.items():
            path = f"experiments.{name}.overrides.{of}"
            layers.append((path, experiment.family, layer))
        if (choose := experiment.choose) is not None:
            path = f"experiments.{name}.choose"
            layers.append((f"{path}.settings", experiment.family, choose.settings))
            for value in choose.values:
                layers.append((path, experiment.family, {choose.setting: value}))
    for name, method in params.methods.items():
        users = [e.family for e in params.experiments.values() if name in e.methods]
        path = f"methods.{name}.settings"
        layers += [(path, family, method.settings) for family in dict.fromkeys(users)]
    mistakes = []
    for path, family, layer in layers:
        try:
            FAMILIES[family].model_validate(layer)
        except ValidationError as error:
            mistakes += explain(error, FAMILIES[family], prefix=f"{path}.", missing=False)
    return mistakes


def _report(mistakes: list[str]) -> str:
    return "params.yaml (with its overlays) can't be run:\n" + "\n".join(f"  {m}" for m in mistakes)
