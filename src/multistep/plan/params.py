"""`params.yaml`: read, merge overlays, and check before any job.

`validate` turns the merged configuration into typed, frozen settings, or raises one `UserError`
that has a line for every mistake: the path of the key, what is wrong, and what would be right.
Nothing here imports torch: it runs inside Snakemake.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from multistep.files import UserError
from multistep.plan import checks
from multistep.plan.layers import Layers, merge
from multistep.plan.mistakes import explain
from multistep.plan.schema import Params


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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not valid YAML: {error}") from None
    if not isinstance(layer, dict):
        raise UserError(f"{file}: must hold a mapping of keys, like params.yaml")
    return layer


def validate(config: dict[str, Any]) -> Params:
    """The typed parameters, or one `UserError` with a line per mistake."""
    for form in ("tables", "figures"):
        if form in config:
            raise UserError(
                f"{form}: no part of params.yaml; a page is workflow/report/{form}/*.yaml"
            )
    try:
        params = Params.model_validate(config)
        mistakes = checks.references(params) or checks.data(params) or _cells(params)
    except ValidationError as error:
        mistakes = explain(error, Params)
    if mistakes:
        lines = "\n".join(f"  {m}" for m in dict.fromkeys(mistakes))
        raise UserError(f"params.yaml (with its overlays) can't be run:\n{lines}")
    return params


def cell_settings(
    params: Params, experiment: str, method: str, candidate: float | None = None
) -> Any:
    """The typed settings of a cell (of the candidate that tries a value), validated once."""
    return Layers(params, experiment, method, candidate).settings()


def _cells(params: Params) -> list[str]:
    """Mistakes in the settings of cells, and cells that can't be run."""
    wrong: list[str] = []
    possible: list[str] = []
    for name, experiment in params.experiments.items():
        timed = experiment.measured.methods if experiment.measured else []
        for method in dict.fromkeys([*experiment.methods, *timed, *experiment.overrides]):
            choose = experiment.choice(method)
            for value in [None, *(choose.values if choose else [])]:
                layers = Layers(params, name, method, value)
                try:
                    settings = layers.settings()
                except UserError as error:
                    wrong += str(error).splitlines()
                    continue
                if experiment.datasets and method in experiment.methods:
                    possible += checks.impossible(layers, settings)
    return wrong or possible
