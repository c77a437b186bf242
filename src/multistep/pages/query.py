"""Looking results up for a table or figure, and writing rows as tidy csv."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from multistep import seal, stats
from multistep.files import UserError, read_json
from multistep.job import results
from multistep.pages import frame
from multistep.pages.context import Context
from multistep.pages.frame import CLOCKS as CLOCKS
from multistep.pages.frame import device_name, training_clock
from multistep.pages.spec import Spec

if TYPE_CHECKING:
    import pandas as pd

Result = dict[str, Any]
Point = SimpleNamespace  # a row of a figure's csv, which has the COLUMNS of its module


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
    gap: float | None = None  # ours - paper, where ours was run as the paper's in every setting
    otherwise: str = ""  # the settings in which it wasn't, with the paper's
    section: str = "ours"  # or "literature"
    row_title: str = ""
    column_title: str = ""
    scale: str = ""
    data: str = ""


def read(path: Path, plan: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A file that a page is drawn from: a result, a measurement or a prepared dataset's JSON.

    Refused: what isn't as it was sealed, and what the plan doesn't expect at this place, if `plan`
    is given (see `inputs.expectations`).
    """
    if path.name == "dataset.json":
        record: dict[str, Any] = read_json(path)
        seal.check(path, record, "delete the folder and run `snakemake data`")
        return record
    return results.read(path, None if plan is None else expected(path, plan))


def expected(path: Path, plan: Mapping[str, Any]) -> results.Expected:
    """What the file of a result or a measurement has to be, by its place."""
    name = record_name(path)
    if name in plan["measurements"]:
        return results.Expected(plan["measurements"][name])
    group = plan["cells"].get(name)
    if group is None or path.stem not in map(str, group["seeds"]):
        raise UserError(f"{path}: the plan has no such result for this page; leave it out")
    return results.Expected({**group["cell"], "seed": int(path.stem)})


def record_name(file: Path | str) -> str:
    """experiment/dataset/method of a result's file, measure/experiment/dataset of another's."""
    path = Path(file)
    measured = path.parent.parent.name == "measure"
    return "/".join(path.with_suffix("").parts[-3:] if measured else path.parts[-4:-1])


def group_results(
    spec: Spec, context: Context, records: Sequence[Result]
) -> dict[tuple[str, str, str], list[Result]]:
    """The results that a page shows, by (experiment, dataset, method) and sorted by seed.

    Datasets are the page's, though a stand-in's results may be found in their place. Other results
    and other kinds of records are left out. Refused: another scale, two results for one seed, seeds
    of one cell with different settings, and no result that is wanted though some were given.
    """
    keys = ("experiment", "dataset", "method")
    groups = _groups(
        spec, context, [r for r in records if "metrics" in r], spec.wants().cells, keys
    )
    for group in groups.values():
        group.sort(key=lambda result: int(result["cell"]["seed"]))
        for one, other in itertools.pairwise(group):
            first, second = one["cell"], other["cell"]
            if first["seed"] == second["seed"]:
                name = cell_name(first)
                raise UserError(f"{name}: two results for one seed; give each cell once")
            for part in ("algorithm", "settings", "data"):
                for key, is_, was in results.unequal(part, second.get(part), first.get(part)):
                    raise UserError(
                        f"{cell_name(first)} and {cell_name(second)} were run with different "
                        f"{key} ({was} and {is_}); build both again"
                    )
    return groups


def group_measurements(
    spec: Spec, context: Context, records: Sequence[dict[str, Any]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """The measurements that a page shows, by (experiment, dataset); refused is as for results."""
    given = [record for record in records if record.get("kind") == "measure"]
    groups = _groups(spec, context, given, spec.wants().measured, ("experiment", "dataset"))
    for group in groups.values():
        if len(group) > 1:
            raise UserError(f"{cell_name(group[0]['cell'])}: measured twice; give each file once")
    return {key: group[0] for key, group in groups.items()}


def _groups(
    spec: Spec,
    context: Context,
    records: Sequence[dict[str, Any]],
    wanted: Collection[tuple[str, ...]],
    keys: Sequence[str],
) -> dict[Any, list[dict[str, Any]]]:
    """Those records that are wanted, by their names in the page's words."""
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for record in records:
        cell = record["cell"]
        if cell["scale"] != context.scale:  # numbers of two scales are never shown together
            raise UserError(
                f"{cell_name(cell)}: made at scale {cell['scale']}, but the scale here is "
                f"{context.scale}; give only results of one scale"
            )
        found.setdefault(tuple(cell[key] for key in keys), []).append(record)
    groups = {}
    for names in wanted:
        here = (names[0], context.dataset(names[1]), *names[2:])
        if here in found:
            groups[names] = found[here]
    if wanted and records and not groups:
        shown = [list(dict.fromkeys(column)) for column in zip(*wanted, strict=True)]
        shown[1] = [context.dataset(name) for name in shown[1]]
        what = ", ".join(
            f"{key}{'' if len(names) == 1 else 's'} {', '.join(names)}"
            for key, names in zip(keys, shown, strict=True)
        )
        kind = "results" if "method" in keys else "measurements"
        raise UserError(
            f"none of the {len(records)} {kind} belongs to {spec.title}: it shows {what}"
        )
    return groups


class Data(NamedTuple):
    """What a page shows: what was run (`frame.runs`), and its numbers (`frame.of`)."""

    runs: pd.DataFrame
    numbers: pd.DataFrame


def data(
    spec: Spec,
    context: Context,
    records: Sequence[dict[str, Any]],
    *,
    episodes: bool = False,
    history: bool = False,
) -> Data:
    """The results and measurements that a page shows as two frames, in the page's order.

    `dataset` is as the page calls it, though a stand-in's results may be found in its place;
    `runs.data_title` is the title of what was used. Refused is as for `group_results`.
    """
    groups: dict[Any, list[Result]] = {}
    groups.update(group_results(spec, context, records))
    groups.update((k, [m]) for k, m in group_measurements(spec, context, records).items())
    found = []
    for names, group in groups.items():
        here = {"dataset": names[1], "data_title": context.titles([names[1]])}
        found += [record | {"cell": record["cell"] | here} for record in group]
    return Data(frame.runs(found), frame.of(found, episodes=episodes, history=history))


def own(row: Any, spec: Any, context: Context, method: str, column: str, dataset: str) -> Any:
    """A row of a method of ours without its number; `row` is the table's class of rows."""
    return row(
        method,
        column,
        row_title=context.methods.get(method, method),
        column_title=spec.columns[column],
        scale=context.scale,
        data=context.titles([dataset]),
    )


def quoted(row: Any, spec: Any) -> list[Any]:
    """The rows of numbers of the literature; after the title the "[11]" of their reference."""
    found = []
    for name, entry in spec.literature.items():
        mark, bracket, _ = spec.references[entry.source].partition("]")
        title = f"{entry.title} {mark}{bracket}" if mark.startswith("[") else entry.title
        for column, heading in spec.columns.items():
            value, spread = [*entry.values.get(column, []), None, None][:2]
            about = {"section": "literature", "row_title": title, "column_title": heading}
            found.append(row(name, column, paper=value, paper_spread=spread, **about))
    return found


def over_seeds(results: Sequence[Result]) -> tuple[stats.Mean, dict[str, Any]]:
    """The accuracy of a cell over its seeds, and what fields of rows say of it."""
    metrics = [result["metrics"] for result in results]
    ours = stats.over_episodes_and_seeds([m["episode_accuracies"] for m in metrics])
    seeds = [float(m["test_accuracy"]) for m in metrics]
    return ours, {
        "ours": ours.mean,
        "ours_low": ours.low,
        "ours_high": ours.high,
        "n": len(results),
        "seed_sd": stats.over_seeds(seeds)[1],
        "seed_t95": stats.t_interval(seeds).half_width if len(seeds) > 1 else None,
        "episodes": ours.n,
        "iterations": int(metrics[0]["iterations"]),
        "meta_batch": int(results[0]["cell"]["settings"]["meta_batch"]),
    }


def of_seeds(context: Context, results: Sequence[Result]) -> dict[str, Any]:
    """What a figure's points say of the cell whose seeds they are over; `source`: if it has one."""
    cell = results[0]["cell"]
    return {
        "experiment": cell["experiment"],
        "method": cell["method"],
        "seeds": len(results),
        "device": "; ".join(dict.fromkeys(device_name(r["environment"]) for r in results)),
        "source": "" if cell["algorithm"] == "scratch" else cell["settings"].get("source", ""),
        "scale": context.scale,
        "data": context.dataset_title(cell["dataset"]),
    }


def shared(seeds: Sequence[Mapping[int, Any]]) -> list[int]:
    """The rising numbers at which all seeds have something; none without seeds."""
    return sorted(set.intersection(*map(set, seeds))) if seeds else []


def cell_name(cell: dict[str, Any]) -> str:
    """The path-like name of a cell for messages: experiment/dataset/method/seed."""
    parts = (cell.get(key) for key in ("experiment", "dataset", "method", "seed"))
    return "/".join(str(part) for part in parts if part is not None)


def training_seconds(result: Result) -> tuple[list[float], str]:
    """Seconds of training at each entry of the history, and their clock."""
    clock, scale = training_clock(result)
    return [scale * seconds for seconds in result["timing"]["history_seconds"]], clock


def tidy(columns: Sequence[str], rows: Sequence[Any]) -> str:
    """Rows as csv: floats with six digits, nothing where there is None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = [getattr(row, column) for column in columns]
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])
    return text.getvalue()


def otherwise(rows: Sequence[Any]) -> list[str]:
    """A note for each way in which cells with a number of the paper were run otherwise."""
    cells: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        if row.otherwise:
            cells.setdefault(row.otherwise, {}).setdefault(row.column_title, []).append(
                row.row_title
            )
    return [
        "Run otherwise than the paper's, so no gap is given: "
        + "; ".join(f"{column} of {', '.join(names)}" for column, names in columns.items())
        + f": {text}."
        for text, columns in cells.items()
    ]


def check_inputs(records: Sequence[dict[str, Any]]) -> None:
    """Refuse records that name one dataset or source network and were made from different bytes."""
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for record in records:
        cell = record.get("cell", {})
        of_methods = [m["settings"] for m in cell.get("methods", {}).values()]
        settings = [cell.get("settings", {}), *of_methods]
        network = next((s["source"] for s in settings if s.get("source")), "")
        for what, name in (("dataset", cell.get("dataset")), ("network", network)):
            digest = input_digest(record, what)
            if name and digest:
                here = cell_name(cell)
                first, there = seen.setdefault((what, name), (digest, here))
                if digest != first:
                    raise UserError(
                        f"{there} and {here} were made from different bytes of {name}; build the "
                        "older one again"
                    )


def input_digest(record: dict[str, Any], what: str) -> str | None:
    """Of the dataset or the source network that a record was made from; None without any."""
    made_from = record.get("made_from") or {}
    found = made_from.get(what) or record.get("environment", {}).get(f"{what}_digest")
    return None if found is None else str(found)


def remarks(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> list[str]:
    """What readers have to know of the records behind a page, as notes.

    Rows whose results come from different machines or versions, choices with their diverged
    candidates, test episodes with numbers that aren't finite, passes held at once where the inner
    loop moves the head alone, and records from before seals.
    """
    notes = _passes_held(spec, context, records)
    rows: dict[str, list[dict[str, Any]]] = {}
    choices: dict[str, dict[str, Any]] = {}
    broken = episodes = 0
    for record in records:
        if "metrics" not in record:
            continue
        cell, metrics = record["cell"], record["metrics"]
        rows.setdefault(cell["method"], []).append(record)
        if cell.get("chosen"):
            choices["/".join(cell_name(cell).split("/")[:-1])] = cell["chosen"]
        broken += metrics.get("non_finite_episodes") or 0
        episodes += metrics.get("test_episodes", 0)
    for method, group in rows.items():
        mixed = []
        for key in ("device", "cpu", "threads", "torch", "commit"):
            values = dict.fromkeys(r["environment"].get(key) for r in group)
            if len(values) > 1:
                short = [str(value)[:7] if key == "commit" else str(value) for value in values]
                mixed.append(f"{key} {' and '.join(short)}")
        if mixed:
            name = context.methods.get(method, method)
            notes.append(f"{name}: its results differ in where they were made: {'; '.join(mixed)}.")
    if choices:
        scores = [
            c["validation_accuracy"] for choice in choices.values() for c in choice["candidates"]
        ]
        notes.append(
            f"{len(choices)} choices by validation among {len(scores)} candidates, of which "
            f"{scores.count(None)} diverged; none of them met a test class."
        )
    if broken:
        notes.append(
            f"{broken:,} of {episodes:,} test episodes had numbers that aren't finite; they count "
            "with the accuracy that remains."
        )
    sealed = [record for record in records if "environment" in record]
    old = sum(not results.is_sealed(record) for record in sealed)
    if old:
        notes.append(
            f"{old} of {len(sealed)} records are from before records were sealed: that they are as "
            "they were written is not proven."
        )
    return notes


def _passes_held(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> list[str]:
    """A note on ANIL and memory-reduced meta-learning, whose memory hangs on one switch."""
    kept: dict[str, None] = {}
    again: dict[str, None] = {}
    measurements = [record for record in records if "rows" in record]
    for method in getattr(spec, "methods", ()):
        for record in measurements:
            entry = record["cell"]["methods"].get(method, {"settings": {}})
            algorithm, settings = entry.get("algorithm"), entry["settings"]
            cached = settings.get("options", {}).get("cache_features")
            if cached and algorithm in ("anil", "memory_reduced"):
                # Before seals memory-reduced recomputed whatever the switch said, and ANIL never.
                replay = settings["scheme"] == "replay"
                if not results.is_sealed(record):
                    replay = algorithm == "memory_reduced"
                (again if replay else kept)[context.methods.get(method, method)] = None
    notes = []
    if kept:
        notes.append(
            f"{' and '.join(kept)}: the graphs of one support and one query pass are held at once, "
            "as in the published code of memory-reduced meta-learning."
        )
    if again:
        notes.append(
            f"{' and '.join(again)}: the support pass is computed once more after the query's, so "
            "that the larger graph alone is held; that saving is this project's, not the published "
            "code's."
        )
    return notes
