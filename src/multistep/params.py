"""`params.yaml`: read, merge overlays, and check before any job.

`validate` turns the merged configuration into typed, frozen settings, or raises one `UserError`
that has a line for every mistake: the path of the key, what is wrong, and what would be right.
Nothing here imports torch: it runs inside Snakemake.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from multistep.files import UserError
from multistep.schema import Params, Table, algorithms, loaders
from multistep.settings import FewShot


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
    try:
        params = Params.model_validate(config)
    except ValidationError as error:
        raise UserError(_report(_explain(error, Params))) from None
    mistakes = _references(params) or _possible(params)
    if mistakes:
        raise UserError(_report(mistakes))
    return params


def cell_settings(params: Params, experiment: str, method: str) -> FewShot:
    """Settings of a cell: the family's, then the experiment's, then the method's."""
    layers = (params.experiments[experiment].settings, params.methods[method].settings)
    merged = dict(params.few_shot)
    for layer in layers:
        merged = merge(merged, layer)
    return FewShot.model_validate(merged)


def _references(params: Params) -> list[str]:
    """Names that point nowhere."""
    found: list[str] = []
    home = "." if params.scale == "paper" else f"scales/{params.scale}"
    if params.directory != home:
        found.append(f"directory: the scale {params.scale!r} builds in {home!r}, not elsewhere")
    for name, stand_in in params.stand_ins.items():
        found += _unknown(f"stand_ins.{name}", [name, stand_in], params.datasets, "dataset")
    found += _unknown("sources", params.sources, params.datasets, "dataset")
    for name, dataset in params.datasets.items():
        found += _unknown(f"datasets.{name}.loader", [dataset.loader], loaders(), "loader")
    for name, method in params.methods.items():
        path = f"methods.{name}.algorithm"
        found += _unknown(path, [method.algorithm], algorithms(), "algorithm")
    for name, experiment in params.experiments.items():
        path = f"experiments.{name}"
        if name == "measure":
            found.append(f"{path}: the name is taken by results/measure; choose another")
        found += _unknown(f"{path}.datasets", experiment.datasets, params.datasets, "dataset")
        found += _unknown(f"{path}.methods", experiment.methods, params.methods, "method")
    for name, table in params.tables.items():
        path = f"tables.{name}"
        found += _unknown(f"{path}.dataset", [table.dataset], params.datasets, "dataset")
        found += _unknown(f"{path}.methods", table.methods, params.methods, "method")
        found += _unknown(f"{path}.columns", table.columns, params.experiments, "experiment")
        found += table_mistakes(path, table)
    for name, figure in params.figures.items():
        path = f"figures.{name}"
        found += _unknown(f"{path}.dataset", [figure.dataset], params.datasets, "dataset")
        found += _unknown(f"{path}.methods", figure.methods, params.methods, "method")
        found += _unknown(f"{path}.panels", figure.panels, params.experiments, "experiment")
    return found


def table_mistakes(path: str, table: Table) -> list[str]:
    """Printed numbers that belong to none of the table's own columns, methods or references."""
    found: list[str] = []
    columns, references = table.columns, table.references
    for row, literature in table.literature.items():
        at = f"{path}.literature.{row}"
        found += _unknown(f"{at}.values", literature.values, columns, "column")
        found += _unknown(f"{at}.source", [literature.source], references, "reference")
    if (paper := table.paper) is not None:
        found += _unknown(f"{path}.paper.source", [paper.source], references, "reference")
        found += _unknown(f"{path}.paper.values", paper.values, table.methods, "method")
        found += _unknown(f"{path}.paper.meta_batch", paper.meta_batch, columns, "column")
        found += _unknown(f"{path}.columns", columns, paper.meta_batch, "paper.meta_batch")
        for method, values in paper.values.items():
            found += _unknown(f"{path}.paper.values.{method}", values, columns, "column")
    found += _unknown(f"{path}.cell_notes", table.cell_notes, table.methods, "method")
    for method, notes in table.cell_notes.items():
        found += _unknown(f"{path}.cell_notes.{method}", notes, columns, "column")
    return found


def _unknown(path: str, names: Iterable[str], known: Collection[str], what: str) -> list[str]:
    """A line for each name that is not known."""
    return [
        f"{path}: no {what} named {name!r}{_closest(name, known)}"
        for name in names
        if name not in known
    ]


def _possible(params: Params) -> list[str]:
    """Values that are well-formed but can't be run. A line names the key that has to change."""
    mistakes = []
    for name, dataset in params.datasets.items():
        for archive_name, archive in dataset.archives.items():
            if archive.drawn is None and not (archive.urls and archive.sha256):
                path = f"datasets.{name}.archives.{archive_name}"
                mistakes.append(f"{path}: needs `urls` and `sha256`, or `drawn` for a stand-in")
    mistakes += _layers(params)
    if mistakes:
        return mistakes
    for name, experiment in params.experiments.items():
        for method in experiment.methods:
            try:
                s = cell_settings(params, name, method)
            except ValidationError as error:  # each layer is right by itself: something is missing
                mistakes += _explain(error, FewShot, prefix="few_shot.")
                continue
            datasets = [params.dataset(d) for d in experiment.datasets]
            mistakes += _impossible(params, name, method, s, datasets)
    return list(dict.fromkeys(mistakes))


def _layers(params: Params) -> list[str]:
    """Unknown keys and wrong types in each layer of settings, missing ones allowed."""
    layers = {"few_shot": params.few_shot}
    layers |= {f"experiments.{n}.settings": e.settings for n, e in params.experiments.items()}
    layers |= {f"methods.{n}.settings": m.settings for n, m in params.methods.items()}
    mistakes = []
    for path, layer in layers.items():
        try:
            FewShot.model_validate(layer)
        except ValidationError as error:
            mistakes += _explain(error, FewShot, prefix=f"{path}.", missing=False)
    return mistakes


def _impossible(
    params: Params, experiment: str, method: str, s: FewShot, datasets: list[str]
) -> list[str]:
    """Combinations that can't be run, each with the paths of the keys that clash."""

    def path(key: str) -> str:
        if key in params.methods[method].settings:
            return f"methods.{method}.settings.{key}"
        in_experiment = key in params.experiments[experiment].settings
        return f"experiments.{experiment}.settings.{key}" if in_experiment else f"few_shot.{key}"

    mistakes = []
    if s.hold_out_validation and s.validate_every % s.log_every:
        mistakes.append(
            f"{path('validate_every')}: {s.validate_every} is not a multiple of "
            f"{path('log_every')}={s.log_every}; the history has a line per log_every iterations"
        )
    for key in ("inner_steps", "test_steps"):
        steps = getattr(s, key)
        if steps % s.window:
            mistakes.append(
                f"{path(key)}: {steps} steps are not divisible by {path('window')}={s.window}; "
                "choose a multiple of the window"
            )
    for name in datasets:
        dataset = params.datasets[name]
        if s.ways > dataset.classes:
            mistakes.append(
                f"{path('ways')}: {s.ways} ways, but datasets.{name} has {dataset.classes} classes"
            )
        if s.shots + s.queries > dataset.images_per_class:
            mistakes.append(
                f"{path('queries')}: {s.queries} queries + {s.shots} shots ({path('shots')}) "
                f"exceed the {dataset.images_per_class} images per class of datasets.{name}"
            )
    return mistakes


def _report(mistakes: list[str]) -> str:
    return "params.yaml (with its overlays) can't be run:\n" + "\n".join(f"  {m}" for m in mistakes)


def _explain(
    error: ValidationError, model: type[BaseModel], prefix: str = "", *, missing: bool = True
) -> list[str]:
    """One line per mistake: path, what is wrong, the closest known key."""
    lines = []
    for e in error.errors():
        path = ".".join(str(part) for part in e["loc"])
        if e["type"] == "extra_forbidden":
            known = _known_keys(model, e["loc"][:-1])
            problem = f"unknown key{_closest(str(e['loc'][-1]), known)}"
        elif e["type"] == "missing":
            if not missing:
                continue
            problem = "missing"
        else:
            problem = f"{e['msg'][0].lower()}{e['msg'][1:]}, got {e['input']!r}"
        lines.append(f"{prefix}{path}: {problem}")
    return lines


def _known_keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> Collection[str]:
    """The keys allowed at `loc`: walks from the model through fields and mapping values."""
    fields: Any = model
    for part in loc:
        if isinstance(fields, type) and issubclass(fields, BaseModel):
            field = fields.model_fields.get(str(part))
            fields = field.annotation if field else None
        else:  # a mapping or a list: go on with what it holds
            fields = getattr(fields, "__args__", (None,))[-1]
        while getattr(fields, "__args__", None) and type(None) in fields.__args__:
            fields = fields.__args__[0]
    return list(getattr(fields, "model_fields", {}))


def _closest(name: str, known: Collection[str]) -> str:
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    if match:
        return f"; did you mean {match[0]!r}?"
    return f"; known: {', '.join(sorted(known))}" if known else ""
