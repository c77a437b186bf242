"""Looking results up for a table or figure, and writing rows as tidy csv."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
from collections.abc import Collection, Sequence
from typing import Any

from multistep.files import UserError
from multistep.reports.spec import Context

Result = dict[str, Any]


def group_results(
    title: str,
    dataset: str,
    experiments: Collection[str],
    methods: Collection[str],
    context: Context,
    results: Sequence[Result],
) -> dict[tuple[str, str], list[Result]]:
    """The results wanted, by (experiment, method) and sorted by seed.

    Results of other datasets, experiments or methods are left out. Refused: another scale, two
    results for one seed, seeds of one cell with different settings, and no result that is wanted
    though some were given. `title` names the table or figure in messages; `dataset` is the one of
    its spec, which the scale may replace by a stand-in.
    """
    dataset = context.dataset(dataset)
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        cell = result["cell"]
        check_scale(cell, context)
        wanted = cell["experiment"] in experiments and cell["method"] in methods
        if wanted and cell["dataset"] == dataset:
            groups.setdefault((cell["experiment"], cell["method"]), []).append(result)
    if results and not groups:
        raise UserError(
            f"none of the {len(results)} results belongs to {title}: it shows dataset {dataset}, "
            f"experiments {', '.join(experiments)}, methods {', '.join(methods)}"
        )
    for group in groups.values():
        group.sort(key=lambda result: int(result["cell"]["seed"]))
        for first, second in itertools.pairwise(group):
            _check_alike(first["cell"], second["cell"])
    return groups


def check_scale(cell: dict[str, Any], context: Context) -> None:
    """Refuse a result of another scale: numbers of two scales are never shown together."""
    if cell["scale"] != context.scale:
        raise UserError(
            f"{cell_name(cell)}: made at scale {cell['scale']}, but the scale here is "
            f"{context.scale}; give only results of one scale"
        )


def cell_name(cell: dict[str, Any]) -> str:
    """The path-like name of a cell for messages: experiment/dataset/method/seed."""
    parts = (cell.get(key) for key in ("experiment", "dataset", "method", "seed"))
    return "/".join(str(part) for part in parts if part is not None)


def device_name(environment: dict[str, Any]) -> str:
    """The device of a result for readers: the GPU, or the CPU with its number of threads."""
    if environment["device"] != "cpu":
        return str(environment["device"])
    threads = environment["threads"]
    return f"{environment['cpu']}, {threads} thread{'' if threads == 1 else 's'}"


def tidy(row: type, rows: Sequence[Any]) -> str:
    """Rows of a frozen dataclass as csv: floats with six digits, nothing where there is None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in dataclasses.fields(row)])
    for values in map(dataclasses.astuple, rows):
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])
    return text.getvalue()


def _check_alike(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Two results of one cell of a table differ in their seed, and in nothing else."""
    if first["seed"] == second["seed"]:
        raise UserError(f"{cell_name(first)}: two results for one seed; give each cell once")
    for part in ("settings", "data"):
        one, other = first.get(part, {}), second.get(part, {})
        for key in sorted(set(one) | set(other)):
            if one.get(key) != other.get(key):
                raise UserError(
                    f"{cell_name(first)} and {cell_name(second)} were run with different "
                    f"{part}.{key} ({one.get(key)} and {other.get(key)}); build both again"
                )
