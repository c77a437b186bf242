"""Claims of the paper and their verdicts, for each scale that has results.

A claim is an entry of workflow/report/claims/*.yaml: its words, where the paper has it, and a test
of some kind (a module here, found by its name) on the results: an estimate that has to lie in a
range. A scale may say a claim otherwise, under its name in workflow/report/<scale>/claims/.

A verdict is of a scale as it was run. It is one about the paper only where nothing `differs`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from multistep import seal
from multistep.files import UserError, digest, write_json, write_text
from multistep.pages import inputs, load, query
from multistep.pages.spec import Dataset, Experiment, Method, Spec, Wants, parse
from multistep.plan import params
from multistep.plan.schema import Params
from multistep.settings import Model
from multistep.stats import Estimate

EVERY = "every scale"  # of what follows from formulas alone
Range = tuple[float | None, float | None]
Run = dict[str, Any]


class Part(NamedTuple):
    """One of the cells that a claim is about: its estimate, or why there is none."""

    name: str
    estimate: Estimate | None = None
    files: tuple[str, ...] = ()  # results that it is from, below the project's folder
    missing: str = ""
    within: Range | None = None  # if not the claim's own


class Claim(Spec):
    """What the paper says, where, and the range in which an estimate has to lie if it is so.

    `reading`: how words without a number were read as one. `joint`: whether all parts have to lie
    in the range, or any. A kind adds what its `parts` need.
    """

    title: str = ""
    caption: str = ""
    text: str
    section: str
    place: str
    reading: str = ""
    at_least: float | None = None
    at_most: float | None = None
    joint: Literal["all", "any"] = "all"
    unit: ClassVar[str] = ""
    scaled: ClassVar[bool] = True  # whether it is about results

    @property
    def where(self) -> str:
        """The section or appendix."""
        return f"{'appendix' if self.section.isalpha() else 'section'} {self.section}"

    @property
    def range(self) -> Range:
        """Both ends of what is claimed."""
        return self.at_least, self.at_most

    def settled(self, pages: Mapping[str, Spec]) -> Claim:
        """The claim with the numbers that it takes from pages."""
        return self

    @property
    def methods_of(self) -> set[str]:
        """The methods that it is about; of what is timed others are left out."""
        return {method for _, _, method in self.wants().cells}

    def parts(self, scale: Scale) -> list[Part]:
        """The estimates on the results of a scale."""
        raise NotImplementedError


class Compared(Model):
    """Each method of `of` is set beside each of `to`, in these cells: experiments by dataset.

    `elsewhere`: the experiment of a method whose cells lie in another one.
    """

    of: list[Method] = Field(min_length=1)
    to: list[Method] = Field(min_length=1)
    cells: dict[Dataset, list[Experiment]]
    elsewhere: dict[Method, Experiment] = {}


class Pair(NamedTuple):
    """Two methods that are compared on a dataset; `of` and `to` are (experiment, method)."""

    experiment: str
    dataset: str
    of: tuple[str, str]
    to: tuple[str, str]


class Comparison(Claim):
    """What the claims that compare methods share."""

    compare: list[Compared] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_a_range(self) -> Comparison:
        if self.range == (None, None):
            raise ValueError("says neither at_least nor at_most")
        return self

    def pairs(self) -> Iterator[Pair]:
        """What is compared, a part each."""
        for one in self.compare:
            for dataset, experiments in one.cells.items():
                for experiment, a, b in itertools.product(experiments, one.of, one.to):
                    of, to = ((one.elsewhere.get(m, experiment), m) for m in (a, b))
                    yield Pair(experiment, dataset, of, to)

    @property
    def methods_of(self) -> set[str]:
        return {method for pair in self.pairs() for _, method in (pair.of, pair.to)}

    def wants(self) -> Wants:
        return Wants([(e, p.dataset, m) for p in self.pairs() for e, m in (p.of, p.to)])


@dataclass(frozen=True)
class Scale:
    """The plan of a scale, and those of its results that there are."""

    plan: inputs.Plan
    paper: inputs.Plan
    folder: Path  # below the project's
    records: dict[str, Run] = field(default_factory=dict)  # by path below the scale's folder
    pages: dict[str, Spec] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.plan.params.scale

    def file(self, path: str) -> str:
        """The path of a result below the project's folder."""
        return (self.folder / path).as_posix()

    @cached_property
    def _cells(self) -> dict[tuple[str, ...], dict[int, tuple[str, Run]]]:
        found: dict[tuple[str, ...], dict[int, tuple[str, Run]]] = {}
        for path, record in self.records.items():
            if "metrics" in record:
                key = tuple(record["cell"][k] for k in ("experiment", "dataset", "method"))
                found.setdefault(key, {})[record["cell"]["seed"]] = self.file(path), record
        return found

    def runs(self, experiment: str, dataset: str, method: str) -> dict[int, tuple[str, Run]]:
        """File and result of a cell by seed, for those that there are."""
        return self._cells.get((experiment, self.plan.params.dataset(dataset), method), {})

    def measured(self, experiment: str, dataset: str) -> tuple[str, Run] | None:
        """File and record of a measurement, if there is one."""
        path = f"results/measure/{experiment}/{self.plan.params.dataset(dataset)}.json"
        return (self.file(path), self.records[path]) if path in self.records else None

    def differing(self, claim: Claim) -> dict[str, list[tuple[str, Any, Any]]]:
        """In which settings a claim's cells aren't the paper's, see `inputs.differing`."""
        at_paper = self.plan is self.paper
        return {} if at_paper else inputs.differing(claim, self.plan, self.paper)

    def cell_title(self, experiment: str, dataset: str) -> str:
        """An experiment on a dataset for readers."""
        p = self.plan.params
        title = p.datasets[p.dataset(dataset)].title
        of = p.experiments[experiment]
        if of.family == "few_shot":
            ways, shots = (of.settings.get(key) for key in ("ways", "shots"))
            return f"{title} {ways}-way {shots}-shot"
        return f"{title}, {experiment}"

    def method_title(self, method: str) -> str:
        return self.plan.params.methods[method].title


def scales(project: Path, *, whole: bool = False) -> list[Scale]:
    """The paper's scale and every other that has results, with what claims read of them, or all.

    Raises UserError: a result isn't as it was sealed, or isn't what the plan says.
    """
    base = project / "params.yaml"
    found: list[Scale] = []
    for overlay in (None, *sorted((project / "workflow" / "scales").glob("*.yaml"))):
        settled = params.load(base, *([overlay] if overlay else []))
        home = project / settled.directory
        if overlay and not (home / "results").is_dir():
            continue
        plan = inputs.Plan.of(settled)
        there = [f for f in (*plan.cells, *plan.measurements) if (home / f).exists()]
        expected = inputs.expectations(there, plan)
        records = {path: _kept(query.read(home / path, expected), whole) for path in there}
        query.check_inputs(list(records.values()))
        if overlay and not records:
            continue
        forms = load.pages((project / "workflow" / "report").resolve(), settled)
        pages = {name: spec for form in forms.values() for name, spec in form.items()}
        paper = found[0].plan if found else plan
        found.append(Scale(plan, paper, Path(settled.directory), records, pages))
    return found


def _kept(record: Run, whole: bool) -> Run:
    """A record with its `drift`, and without the rest of its history unless `whole`."""
    drift = [point for entry in record.get("history", []) for point in entry.get("drift") or []]
    return {k: v for k, v in record.items() if whole or k != "history"} | {"drift": drift}


def claims(folder: Path, of: Params, pages: Mapping[str, Spec]) -> dict[str, Claim]:
    """The claims by id, as a scale has them; `folder` is workflow/report.

    Raises UserError with a line for each mistake.
    """
    layers: dict[str, Any] = {}
    where: dict[str, str] = {}
    for place in (folder / "claims", folder / of.scale / "claims"):
        for file in sorted(place.glob("*.yaml")):
            entries = params.read(file)
            where |= {name: f"{file.relative_to(folder.parents[1])}: {name}: " for name in entries}
            layers = params.merge(layers, entries)
    found: dict[str, Claim] = {}
    mistakes = []
    for name, values in layers.items():
        try:
            claim = parse("claims", values, where[name])
            assert isinstance(claim, Claim)
            mistakes += [where[name] + mistake for mistake in claim.mistakes(of)]
            found[name] = claim.settled(pages)
        except UserError as error:
            mistakes += str(error).splitlines()
    if mistakes:
        raise UserError("claims can't be tested:\n" + "\n".join(f"  {m}" for m in mistakes))
    return found


def verdict(parts: Sequence[Part], within: Range, joint: str = "all") -> str:
    """`held`, `not held`, `undecided` or `not run`, from intervals.

    All have to hold: held if each 95% interval lies inside (each alone may fail, so no correction
    is due), not held if one lies outside at 95% for all of them at once (Bonferroni). Any: held if
    one lies inside at 95% for all at once, not held if each lies outside. While parts are missing
    nothing is said of all of them that could still change.
    """
    run = [part for part in parts if part.estimate is not None]
    if not run:
        return "not run"
    plain = [side(part, within) for part in run]
    strict = [side(part, within, 1 - 0.05 / len(parts)) for part in run]
    yes, no = ("inside", "outside") if joint == "all" else ("outside", "inside")
    if no in strict:
        return "not held" if joint == "all" else "held"
    if len(run) == len(parts) and set(plain) == {yes}:
        return "held" if joint == "all" else "not held"
    return "undecided"


def side(part: Part, within: Range, level: float = 0.95) -> str:
    """Where a part's interval lies: inside the range, outside, or over one of its ends."""
    assert part.estimate is not None
    interval = part.estimate.interval(level)
    if interval is None:
        return "open"
    low, high = (end for end in part.within or within)
    low, high = (-float("inf") if low is None else low, float("inf") if high is None else high)
    if low <= interval[0] and interval[1] <= high:
        return "inside"
    return "outside" if interval[1] < low or interval[0] > high else "open"


def evaluate(project: Path, of: Sequence[Scale] | None = None) -> list[dict[str, Any]]:
    """Every claim at every scale, sealed: see `write`. `of`: what `scales` gives, if known."""
    found = []
    of = scales(project) if of is None else of
    for scale in of:
        said = claims((project / "workflow" / "report").resolve(), scale.plan.params, scale.pages)
        for number, (name, claim) in enumerate(said.items()):
            if claim.scaled or scale is of[0]:
                found.append((number, _entry(name, claim, scale)))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]


def _entry(name: str, claim: Claim, scale: Scale) -> dict[str, Any]:
    """One claim at one scale."""
    parts = claim.parts(scale)
    run = [part for part in parts if part.estimate is not None]
    found = verdict(parts, claim.range, claim.joint)
    shown = _decisive(run, claim)
    files = sorted({file for part in run for file in part.files})
    wants = claim.wants()
    pages = [
        page
        for page, spec in scale.pages.items()
        if run
        and (
            set(wants.cells) & set(spec.wants().cells)
            or set(wants.measured) & set(spec.wants().measured)
        )
    ]
    differing = {
        cell: keys
        for cell, keys in scale.differing(claim).items()
        if run and cell.rsplit("/", 1)[1] in claim.methods_of
    }
    differs: dict[str, list[str]] = {}
    for cell, keys in differing.items():
        differs.setdefault(inputs.told(keys), []).append(cell)
    what = scale.name if claim.scaled else EVERY
    entry = {
        "id": name,
        "text": claim.text,
        "source": f"{claim.where}, {claim.place}",
        "reading": claim.reading,
        "scale": what,
        "reduced": _reduced(differing),
        "claimed": list(claim.range),
        "unit": claim.unit,
        "verdict": found,
        "verdict_of_those_run": verdict(run, claim.range, claim.joint),
        "measured": shown and _number(shown),
        "interval": shown and _interval(shown),
        "n": dict(shown.estimate.n) if shown and shown.estimate else {},
        "joint": f"{claim.joint} of {len(parts)} parts, {len(run)} of them run",
        "parts": [
            {
                "name": part.name,
                "measured": _number(part),
                "interval": _interval(part),
                "n": dict(part.estimate.n) if part.estimate else {},
                "verdict": verdict([part], claim.range),
                **({"missing": part.missing} if part.missing else {}),
            }
            for part in parts
        ],
        "evidence": {"pages": sorted(pages), "results": files},
        "differs": [{"settings": text, "cells": cells} for text, cells in differs.items()],
    }
    records = [scale.records[Path(f).relative_to(scale.folder).as_posix()] for f in files]
    seals = [record.get("seal") or digest(record) for record in records]
    made_from = {"claim": digest(claim.model_dump()), "results": digest([files, seals])}
    return seal.seal({**entry, "words": _words(entry)}, made_from)


def _decisive(run: Sequence[Part], claim: Claim) -> Part | None:
    """The part that stands for a claim: the least favourable where all have to hold, else the most.

    Nearness to the range counts in half-widths, so that a part decides that is clear of its end.
    """

    def room(part: Part) -> float:
        assert part.estimate is not None
        low, high = part.within or claim.range
        value, ends = part.estimate.shown, part.estimate.interval()
        gaps = [value - low] if low is not None else []
        gaps += [high - value] if high is not None else []
        width = 0.0 if ends is None else (ends[1] - ends[0]) / 2
        return min(gaps, default=0.0) / max(width, 1e-12)

    if not run:
        return None
    return (min if claim.joint == "all" else max)(run, key=room)


def _number(part: Part) -> float | None:
    return None if part.estimate is None else float(f"{part.estimate.shown:.9g}")


def _interval(part: Part) -> list[float] | None:
    ends = None if part.estimate is None else part.estimate.interval()
    return None if ends is None else [float(f"{end:.9g}") for end in ends]


_COUNTED = {
    "iterations": "meta-iterations",
    "meta_batch": "tasks",
    "epochs": "epochs",
    "batch_size": "images a mini-batch",
    "test_episodes": "test episodes",
    "measure.tasks": "timed tasks",
    "measure.rounds": "timed rounds",
    "measure.batches": "timed mini-batches",
}


def _reduced(differing: Mapping[str, Sequence[tuple[str, Any, Any]]]) -> str:
    """How a scale is less than the paper's, in words; empty if it is the paper's in all."""
    counts: dict[str, list[str]] = {}
    datasets: dict[str, None] = {}
    others = set()
    for cell, keys in differing.items():
        if not keys:
            datasets["a cell that the paper doesn't have"] = None
        for key, is_, was in keys:
            if cell.startswith("measure/") and not key.startswith(("measure.", "dataset")):
                continue  # of a training that isn't what was timed
            if key == "dataset":
                datasets[f"{is_} for {was}"] = None
            elif key in _COUNTED and isinstance(is_, int) and isinstance(was, int):
                counts.setdefault(f"of {was:,} {_COUNTED[key]}", []).append(f"{is_:,}")
            else:
                others.add(key)
    told = [f"{' or '.join(dict.fromkeys(here))} {of}" for of, here in counts.items()]
    told += datasets
    told += [f"otherwise in {', '.join(sorted(others))}"] if others else []
    return "; ".join(told)


def _words(entry: Mapping[str, Any]) -> str:
    """A verdict as a sentence that says of what it is one."""
    if entry["verdict"] == "not run":
        reasons = list(dict.fromkeys(part["missing"] for part in entry["parts"]))
        return f"not run: {reasons[0] if len(reasons) == 1 else 'no results'}"
    measured = entry["measured"]
    value = f"{measured:,.0f}" if abs(measured) >= 1000 else f"{measured:.4g}"
    value += entry["unit"]
    if entry["interval"] is None:
        value += ", one run, so no interval"
    elif (low := entry["interval"][0]) < (high := entry["interval"][1]):
        value += f" [{low:.4g}, {high:.4g}]"
    value += "".join(f", {n:,} {k[:-1] if n == 1 else k}" for k, n in entry["n"].items())
    if entry["n"].get("seeds") == 1 and entry["interval"]:
        value += ", of these networks and no other training"
    words = f"{entry['verdict']}: {value}"
    if len(entry["parts"]) > 1:
        run = sum("missing" not in part for part in entry["parts"])
        words += f", the deciding one of {run}"
        if run < len(entry["parts"]):
            words += f"; {len(entry['parts']) - run} more not run"
            if entry["verdict_of_those_run"] != entry["verdict"]:
                words += f", {entry['verdict_of_those_run']} in those that were"
    if entry["reduced"]:
        words += f" (at {entry['reduced']}: it says nothing of the paper's setting)"
    return words


COLUMNS = ("id", "scale", "verdict", "measured", "low", "high", "unit", "n", "source", "text")


def write(out: Path, entries: Sequence[Mapping[str, Any]]) -> list[Path]:
    """`out` (json), and beside it a table for reading (md) and one for computing (csv).

    The JSON is a list of sealed entries, one a claim and scale: id, text, source, scale, verdict,
    measured and interval of the part that decides, n, all parts, evidence, what differs from the
    paper's settings. Equal results give equal bytes.
    """
    import pandas as pd

    write_json(out, list(entries))
    table = pd.DataFrame(
        {
            **{key: [entry[key] for entry in entries] for key in COLUMNS if key in entries[0]},
            "n": ["; ".join(f"{n} {k}" for k, n in entry["n"].items()) for entry in entries],
            "low": [(entry["interval"] or [None])[0] for entry in entries],
            "high": [(entry["interval"] or [None])[-1] for entry in entries],
        },
        columns=COLUMNS,
    )
    paths = [out, out.with_suffix(".md"), out.with_suffix(".csv")]
    write_text(paths[1], _markdown(entries))
    write_text(paths[2], table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    return paths


def _markdown(entries: Sequence[Mapping[str, Any]]) -> str:
    """A claim a line, a scale a column; below, each verdict in words."""
    names = list(dict.fromkeys(e["scale"] for e in entries if e["scale"] != EVERY))
    by: dict[str, dict[str, Mapping[str, Any]]] = {}
    for entry in entries:
        by.setdefault(entry["id"], {})[entry["scale"]] = entry
    lines = ["# Claims of the paper", ""]
    lines += ["| claim | source | " + " | ".join(names) + " |", "|---" * (2 + len(names)) + "|"]
    for found in by.values():
        first = next(iter(found.values()))
        of = [found.get(n) or found[EVERY] for n in names]
        cells = [f"{entry['verdict']}{'*' if entry['reduced'] else ''}" for entry in of]
        lines.append(f"| {first['text']} | {first['source']} | {' | '.join(cells)} |")
    lines += [
        "",
        "\\* of a scale that differs from the paper's: it says nothing of the paper's setting.",
    ]
    for name, found in by.items():
        first = next(iter(found.values()))
        reading = f" *Read as:* {first['reading']}" if first["reading"] else ""
        lines += ["", f"## {name}", "", f"{first['text']} ({first['source']}).{reading}", ""]
        run = [e for e in found.values() if e["verdict"] != "not run"]
        lines += [f"- **{e['scale']}**: {e['words']}" for e in run] or ["- not run at any scale"]
    return "\n".join(lines) + "\n"
