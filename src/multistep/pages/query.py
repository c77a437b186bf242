"""Looking results up for a table or figure, as frames, and writing frames as csv."""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multistep import seal, stats
from multistep.files import UserError, read_json
from multistep.job import results
from multistep.job.record import name_of
from multistep.pages import DataFrame, frame, pd
from multistep.pages.context import Context
from multistep.pages.frame import CELL
from multistep.pages.spec import Spec
from multistep.settings import Model


class Group(Model):
    """Cells that differ in the seed alone: what they are, the seeds from the first to the last of
    each run of them, and those of which a test is shown.
    """

    cell: dict[str, Any]
    seeds: list[list[int]]
    evaluated: list[list[int]]


class Expectations(Model):
    """What the plan says of a page's files, as `inputs.expectations` makes it."""

    cells: dict[str, Group]
    measurements: dict[str, dict[str, Any]]
    prepared: dict[str, dict[str, Any]]


def read(
    path: Path,
    plan: Mapping[str, Any] | None = None,
    expect: Callable[[Mapping[str, Any]], results.Expected] = results.Expected,
) -> dict[str, Any]:
    """A file that a page is drawn from: a result, an evaluation, a measurement or a prepared
    dataset's JSON.

    Refused: what isn't as it was sealed, and what the plan doesn't expect at this place, if `plan`
    is given (see `inputs.expectations`); `expect` knows more of a cell, as its inputs' digests.
    """
    if path.name == "dataset.json":
        record: dict[str, Any] = read_json(path)
        again = "delete the folder and run `snakemake data`"
        seal.check(path, record, again)
        if plan is not None:
            name = path.parent.name
            made = (record.get("made_from") or {}).get("dataset") or {}
            found = {"name": record.get("name"), "prepare": made.get("prepare")}
            right = {"name": name, "prepare": plan["prepared"].get(name)}
            for key, is_, was in results.unequal("", found, right):
                what = f"{key.lstrip('.')} is {is_!r}, but the plan says {was!r}"
                raise UserError(f"{path}: {what}; {again}")
        return record
    return results.read(path, None if plan is None else expect(planned(path, plan)))


def planned(path: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    """The cell or the measurement's definition that the plan has at this place; a UserError if it
    has none.
    """
    name = record_name(path)
    if name in plan["measurements"]:
        return dict(plan["measurements"][name])
    group = plan["cells"].get(name, {"seeds": [], "evaluated": []})
    rows = [*group["seeds"], *group["evaluated"]]
    if not path.stem.isdecimal() or not any(a <= int(path.stem) <= b for a, b in rows):
        raise UserError(f"{path}: the plan has no such result for this page; leave it out")
    return {**group["cell"], "seed": int(path.stem)}


def files(plan: Mapping[str, Any]) -> Iterator[str]:
    """The files that a page's plan names, below its scale's folder (see `inputs.expectations`)."""
    for folder, key in (("results", "seeds"), ("evaluations", "evaluated")):
        for name, group in plan["cells"].items():
            for first, last in group[key]:
                yield from (f"{folder}/{name}/{seed}.json" for seed in range(first, last + 1))
    yield from (f"results/{name}.json" for name in plan["measurements"])
    yield from (f"data/processed/{name}/dataset.json" for name in plan["prepared"])


def record_name(file: Path | str) -> str:
    """experiment/dataset/method of a result's file, measure/experiment/dataset of another's."""
    path = Path(file)
    measured = path.parts[-4:-2] == ("results", "measure")
    return "/".join(path.with_suffix("").parts[-3:] if measured else path.parts[-4:-1])


class Seen:
    """Records that stand together, as far as they were seen: what tells one that can't join them.

    Refused: a dataset or source network of one name and scale that was made from other bytes, a
    result with the parameters or the history of another seed of its cell (one is a copy), a second
    file of one cell, and a file in the folder of another scale.
    """

    def __init__(self) -> None:
        self._inputs: dict[tuple[str, ...], tuple[str, str]] = {}  # their digest, a cell's name
        self._files: dict[tuple[str, ...], str] = {}  # of a cell: where its record lies
        self._trained: dict[tuple[str, ...], str] = {}  # of parameters, a history: the cell's name
        self._homes: dict[str, tuple[str, str]] = {}  # of a folder: a scale, a file that is of it

    def add(self, record: Mapping[str, Any], where: str = "") -> None:
        """`where` it lies; without that the last two aren't told."""
        self._check_copy(record, where)
        self._check_inputs(record)

    def _check_inputs(self, record: Mapping[str, Any]) -> None:
        cell = record.get("cell", {})
        of_methods = [m["settings"] for m in cell.get("methods", {}).values()]
        settings = [cell.get("settings", {}), *of_methods]
        network = next((s["source"] for s in settings if s.get("source")), "")
        tested = record.get("kind") == "evaluation"  # on other images, it may be
        for what, name in (("dataset", not tested and cell.get("dataset")), ("network", network)):
            if name and (made_of := record["made_from"].get(what)):
                here = name_of(cell)
                key = (cell.get("scale"), what, name)
                first, there = self._inputs.setdefault(key, (made_of, here))
                if made_of != first:
                    raise UserError(
                        f"{there} and {here} were made from different bytes of {name}; build the "
                        "older one again"
                    )

    def _check_copy(self, record: Mapping[str, Any], where: str) -> None:
        cell, name = record.get("cell", {}), name_of(record.get("cell", {}))
        if where:
            key = (cell["scale"], str(record.get("kind")), name)
            if (other := self._files.setdefault(key, where)) != where:
                both = f"{other} and {where}"
                raise UserError(f"{both} are of one cell, {name}; leave one of them there")
            scale, home = cell["scale"], str(results.home(Path(where), record))
            first, there = self._homes.setdefault(home, (scale, where))
            if scale != first:
                raise UserError(
                    f"{there} is of the scale {first}, {where} of {scale}; delete the one that "
                    "isn't of this folder's, or move it to its own"
                )
        if "metrics" in record:
            marks = {"trained parameters": record["parameters"]["digest"]}
            # Both ends tell histories apart: seeds don't begin with the same loss.
            ends = record["history"][:1] + record["history"][-1:]
            marks["history"] = str(ends) if ends else None
            for what, mark in marks.items():
                key = (cell["scale"], name.rpartition("/")[0], str(mark))
                if mark and (other := self._trained.setdefault(key, name)) != name:
                    raise UserError(
                        f"{other} and {name} have the same {what}; one of them is a copy: "
                        f"{seal.AGAIN}"
                    )


def check_inputs(records: Iterable[Mapping[str, Any]]) -> None:
    """Refuse records that can't stand together, see `Seen`."""
    seen = Seen()
    for record in records:
        seen.add(record)


class Data(NamedTuple):
    """What a page shows: what was run (`frame.runs`), and its numbers (`frame.of`)."""

    runs: DataFrame
    numbers: DataFrame


def data(
    spec: Spec, context: Context, records: Sequence[dict[str, Any]], *, history: bool = False
) -> Data:
    """The results and measurements that a page shows as two frames, in the page's order.

    `dataset` is as the page calls it, though a stand-in's results may be found in its place;
    `runs.data_title` is the title of what was used. Other records are left out. Refused: another
    scale, two records of one place, seeds of one cell with different settings, and no record that
    is wanted though some were given.
    """
    wants, found = spec.wants(), []
    for kind, wanted in (("results", wants.cells), ("measurements", wants.measured)):
        for names, group in groups(spec, context, records, kind, wanted):
            here = {"dataset": names[1], "data_title": context.titles([names[1]])}
            found += [record | {"cell": record["cell"] | here} for record in group]
    return Data(frame.runs(found), frame.of(found, episodes=False, history=history))


# The kinds of records that pages show, each with a key that it alone has.
KINDS = {"results": "metrics", "measurements": "unit", "evaluations": "settings"}


def groups(
    spec: Spec,
    context: Context,
    records: Sequence[dict[str, Any]],
    kind: str,
    wanted: Collection[tuple[str, ...]],
) -> Iterator[tuple[tuple[str, ...], list[dict[str, Any]]]]:
    """The records of a kind that a page wants, by their names there, seeds in order; refused is as
    for `data`.
    """
    keys = CELL[:2] if kind == "measurements" else CELL
    there: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for record in records:
        if KINDS[kind] not in record:
            continue
        cell = record["cell"]
        if cell["scale"] != context.scale:  # numbers of two scales are never shown together
            raise UserError(
                f"{name_of(cell)}: made at scale {cell['scale']}, but the scale here is "
                f"{context.scale}; give only results of one scale"
            )
        there.setdefault(tuple(cell[key] for key in keys), []).append(record)
    shown = {names: (names[0], context.used(names[1]), *names[2:]) for names in wanted}
    if wanted and there and not there.keys() & {*shown.values()}:
        columns = [dict.fromkeys(column) for column in zip(*shown.values(), strict=True)]
        what = (
            f"{k}{'s' * (len(c) > 1)} {', '.join(c)}" for k, c in zip(keys, columns, strict=True)
        )
        count = sum(map(len, there.values()))
        raise UserError(
            f"none of the {count} {kind} belongs to {spec.title}: it shows {', '.join(what)}"
        )
    for names, place in shown.items():
        group = sorted(there.get(place, []), key=lambda r: int(r["cell"].get("seed", 0)))
        for pair in itertools.pairwise(group):
            _alike(*(record["cell"] for record in pair))
        if group:
            yield names, group


def _alike(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Refuse two cells that aren't seeds of one."""
    names = name_of(first), name_of(second)
    if names[0] == names[1]:
        raise UserError(f"{names[0]}: two files of one name; give each once")
    for part in ("algorithm", "settings", "data"):
        for key, is_, was in results.unequal(part, second.get(part), first.get(part)):
            raise UserError(
                f"{names[0]} and {names[1]} were run with different {key} ({was} and {is_}); "
                "build both again"
            )
    if first.get("chosen") != second.get("chosen"):  # of one value, by other candidates
        raise UserError(
            f"{names[0]} and {names[1]} rest on different choices by validation; build the older "
            "one again"
        )


def csv_text(cells: DataFrame) -> str:
    """A frame as csv: numbers with six digits, whole ones in full, nothing where one is missing."""

    def digits(value: float) -> str:
        return f"{value:.0f}" if value == round(value) else f"{value:.6g}"

    return str(cells.to_csv(index=False, lineterminator="\n", float_format=digits))


def costs(data: Data) -> DataFrame:
    """What a few-shot meta-iteration of each measured method costs, by inner steps.

    Besides experiment, dataset, method and steps: seconds (median over `rounds`) with its
    quartiles, bytes, clock, memory (what is measured), tasks (in the meta-batch), trained_steps,
    shared_steps (those that all methods were measured with).
    """
    seconds = _timed(data, "seconds", "steps")
    ends = {"seconds_low": 0.25, "seconds": 0.5, "seconds_high": 0.75}
    found = pd.DataFrame({name: seconds.quantile(q) for name, q in ends.items()})
    found = found.assign(rounds=seconds.size(), bytes=_timed(data, "bytes", "steps").first())
    names = {"unit.time": "clock", "unit.memory": "memory", "measure.tasks": "tasks"}
    names |= {"settings.meta_batch": "batch", "settings.inner_steps": "trained_steps"}
    names |= {"measure.steps": "shared_steps"}
    runs = _measured(data, names).merge(found.reset_index())
    return runs.assign(tasks=runs.tasks.where(runs.tasks.notna(), runs.batch))


def epoch_times(data: Data) -> DataFrame:
    """Seconds of an epoch of meta-transfer, of each measured method, from single mini-batches.

    Besides experiment, dataset and method: seconds of training alone, seconds_half_width of its 95%
    interval, seconds_sd as if an epoch's mini-batches were independent, batches (timed), iterations
    (mini-batches of an epoch), bytes, clock and memory (what is measured), and how.
    """
    times = _timed(data, "seconds").agg(["mean", "std", "size"])
    times["bytes"] = _timed(data, "bytes").first()
    names = {"unit.time": "clock", "unit.memory": "memory", "iterations_per_epoch": "iterations"}
    names |= {f"settings.{k}": k for k in ("batch_size", "scheme", "source_features", "source")}
    found = _measured(data, names).merge(times.reset_index()).rename(columns={"size": "batches"})
    n = found.iterations.astype(float)
    varied = found["std"].where(found["std"] > stats.ROUNDING)  # equal ones have no interval
    found = found.assign(
        seconds=n * found["mean"],
        seconds_sd=n**0.5 * found["std"],
        seconds_half_width=n * stats.Z95 * varied / found.batches**0.5,
    )
    texts = {"scheme": "", "source_features": "", "source": ""}  # scratch has none of these
    return found.fillna(texts)


def _timed(data: Data, quantity: str, *keys: str) -> Any:
    """What was measured, by experiment, dataset, method and `keys`."""
    found = data.numbers[data.numbers.source.astype(str).str.startswith("results/measure/")]
    found = found[found.quantity == quantity].astype(dict.fromkeys(CELL, str))
    return found.groupby([*CELL, *keys]).value


def _measured(data: Data, names: Mapping[str, str]) -> DataFrame:
    """The methods of measurements, with some of what was run under other names."""
    runs = data.runs[data.runs.record == "measurement"]
    names = {"data_title": "data", **names}
    columns = [*CELL, "device", "scale", *names]
    return runs.reindex(columns=columns).rename(columns=names)
