"""Looking results up for a table or figure, and writing rows as tidy csv."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multistep.files import UserError, read_json
from multistep.job import results
from multistep.pages.kinds import Entry
from multistep.pages.spec import Context

Result = dict[str, Any]


@dataclass(frozen=True)
class TidyRow:
    """What the csv of every table begins with; None where there is no number."""

    row: str
    column: str
    ours: float | None = None
    ours_low: float | None = None
    ours_high: float | None = None
    n: int = 0  # of what `ours` is a mean: seeds or mini-batches
    paper: float | None = None  # as printed
    paper_spread: float | None = None  # as printed
    gap: float | None = None  # ours - paper


def read(path: Path) -> dict[str, Any]:
    """A file that a page is drawn from: a result, a measurement or a prepared dataset's JSON."""
    return read_json(path) if path.name == "dataset.json" else results.read(path)


def group_results(
    page: Entry, context: Context, records: Sequence[Result]
) -> dict[tuple[str, str, str], list[Result]]:
    """The results that a page shows, by (experiment, dataset, method) and sorted by seed.

    Datasets are the page's, though a stand-in's results may be found in their place. Other results
    and other kinds of records are left out. Refused: another scale, two results for one seed, seeds
    of one cell with different settings, and no result that is wanted though some were given.
    """
    found: dict[tuple[str, str, str], list[Result]] = {}
    given = [record for record in records if "metrics" in record]
    for result in given:
        cell = result["cell"]
        check_scale(cell, context)
        found.setdefault((cell["experiment"], cell["dataset"], cell["method"]), []).append(result)
    groups = {}
    wanted = page.wants().cells
    for experiment, dataset, method in wanted:
        group = found.get((experiment, context.dataset(dataset), method))
        if group:
            group.sort(key=lambda result: int(result["cell"]["seed"]))
            for first, second in itertools.pairwise(group):
                _check_alike(first["cell"], second["cell"])
            groups[experiment, dataset, method] = group
    if given and not groups:
        experiments, datasets, methods = (
            list(dict.fromkeys(names)) for names in zip(*wanted, strict=True)
        )
        raise UserError(
            f"none of the {len(given)} results belongs to {page.title}: it shows "
            f"{_list('dataset', [context.dataset(d) for d in datasets])}, "
            f"{_list('experiment', experiments)}, {_list('method', methods)}"
        )
    return groups


def group_measurements(
    page: Entry, context: Context, records: Sequence[dict[str, Any]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """The measurements that a page shows, by (experiment, dataset); refused is as for results."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    given = [record for record in records if record.get("kind") == "measure"]
    for measurement in given:
        cell = measurement["cell"]
        check_scale(cell, context)
        if (cell["experiment"], cell["dataset"]) in found:
            raise UserError(f"{cell_name(cell)}: measured twice; give each file once")
        found[cell["experiment"], cell["dataset"]] = measurement
    wanted = page.wants().measured
    groups = {
        (experiment, dataset): found[experiment, context.dataset(dataset)]
        for experiment, dataset in wanted
        if (experiment, context.dataset(dataset)) in found
    }
    if given and not groups:
        experiments, datasets = (list(dict.fromkeys(names)) for names in zip(*wanted, strict=True))
        raise UserError(
            f"{page.title}: none of the {len(given)} measurements is of "
            f"{_list('dataset', [context.dataset(d) for d in datasets])} in "
            f"{_list('experiment', experiments)}"
        )
    return groups


def sources(groups: Mapping[Any, Sequence[Result]]) -> list[str]:
    """The source networks that results took features from, each once."""
    cells = [result["cell"] for group in groups.values() for result in group]
    used = [c["settings"]["source"] for c in cells if c["algorithm"] != "scratch"]
    return list(dict.fromkeys(used))


def _list(what: str, names: Sequence[str]) -> str:
    return f"{what}{'' if len(names) == 1 else 's'} {', '.join(names)}"


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


def devices(results: Sequence[Result]) -> str:
    """The devices that results come from, each once."""
    return "; ".join(dict.fromkeys(device_name(result["environment"]) for result in results))


WALL, PROCESS = "wall seconds", "process seconds"
_CLOCKS = {
    WALL: "wall clock of training",
    PROCESS: "process seconds of training (its wall clock times the cell's share of the processor)",
}


def training_seconds(result: Result) -> tuple[list[float], str]:
    """Seconds of training at each entry of the history, and their clock.

    On a CPU cells share the machine, and the wall clock would show its load: there the wall seconds
    are scaled to the process seconds of the whole training.
    """
    timing = result["timing"]
    if result["environment"]["device"] != "cpu":
        return timing["history_seconds"], WALL
    share = timing["process_seconds"] / timing["train_seconds"]
    return [share * seconds for seconds in timing["history_seconds"]], PROCESS


def clocks(of: Iterable[str]) -> str:
    """Clocks of `training_seconds` for readers, each once."""
    return " or ".join(_CLOCKS[clock] for clock in dict.fromkeys(of))


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
