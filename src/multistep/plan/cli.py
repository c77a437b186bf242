"""`multistep plan`: what params.yaml (with its overlays) means, for people and for programs."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from multistep.files import UserError
from multistep.plan import cells, params
from multistep.plan.families import FAMILIES
from multistep.plan.layers import at, merge, overruled
from multistep.plan.mistakes import check_known
from multistep.plan.schema import Params
from multistep.progress import say

Wanted = dict[str, list[str]]
PARTS = ("experiment", "dataset", "method")  # of a cell, that a plan can be asked for


def add_parser(subparsers: Any) -> None:
    """Add `plan`, and `params`, which prints cells as `--cell` takes them."""
    for name, does in (
        ("plan", "check params.yaml and show its plan"),
        ("params", "list its cells"),
    ):
        parser = subparsers.add_parser(name, help=does, description=__doc__)
        add_files(parser)
        for key in PARTS:
            parser.add_argument(
                f"--{key}",
                action="append",
                metavar="NAME",
                help=f"of this {key} alone (repeatable)",
            )
        parser.set_defaults(run=run if name == "plan" else run_params)
        if name == "plan":
            parser.add_argument("--json", action="store_true", help="the whole plan as JSON")


def add_files(parser: argparse.ArgumentParser) -> None:
    """The files of a scale, as `params.load` takes them."""
    parser.add_argument(
        "files", nargs="*", type=Path, default=[Path("params.yaml")], metavar="FILE",
        help="params.yaml and overlays (default: params.yaml)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Print the plan of one scale."""
    wanted, layers = _wanted(args), params.layers(*args.files)
    plan = params.merged(args.files, layers)
    warn(plan, args.files[0], layers, wanted)
    if args.json:
        print(json.dumps(whole(plan, wanted), indent=1, ensure_ascii=False))
    else:
        print(summary(plan, wanted))


def run_params(args: argparse.Namespace) -> None:
    """A line for each cell: the path of its result, a tab, and the cell."""
    wanted, layers = _wanted(args), params.layers(*args.files)
    plan = params.merged(args.files, layers)
    found = _chosen(plan, wanted)
    warn(plan, args.files[0], layers, wanted)
    for cell in found:
        print(cell.path, cell.json, sep="\t")
    print(f"{len(found)} cells", file=sys.stderr)


def warn(plan: Params, file: Path, layers: Sequence[dict[str, Any]], wanted: Wanted) -> None:
    """Say on standard error what overlays say in vain, and what nobody will see, as the project's
    pages are. `layers`: of params.yaml, which is `file`, and of the overlays.
    """
    from multistep.pages import checks, inputs

    base, *overlays = layers
    over: dict[str, Any] = functools.reduce(merge, overlays, {})
    for note in overruled(plan, base, over, wanted):
        say(f"note: {note}")
    for place in idle(plan, base, over) if not wanted else ():
        say(f"note: {place}: nothing that this scale runs has it")
    folder = file.absolute().parent / "workflow" / "report"
    if not folder.is_dir():
        return
    try:
        here = inputs.Plan.of(plan)
        paper = functools.cache(lambda: inputs.Plan.of(params.validate(base)) if overlays else here)
        found = checks.warnings(folder, here, paper)
    except UserError as error:
        found = [str(error)]
    for warning in found:
        say(f"warning: {warning}")


def idle(plan: Params, base: dict[str, Any], over: dict[str, Any]) -> Iterator[str]:
    """The paths of what the overlays `over` lay over `base` and nothing has that is run."""
    run = {name: of for name, of in plan.run.items() if of.datasets}
    methods = {
        name: {*of.methods, *(of.measured.methods if of.measured and of.measured.datasets else ())}
        for name, of in run.items()
    }
    networks = cells.source_networks(plan)
    data = [dataset for of in run.values() for dataset in of.datasets]
    data += [dataset for n in networks if (dataset := plan.source_networks[n].dataset)]
    known: dict[str, Collection[str]] = {
        "methods": set().union(*methods.values()),
        "datasets": {*map(plan.used, data)},
        "source_networks": networks,
        "experiments": plan.run,
    }
    known |= {f"experiments.{name}.overrides": of for name, of in methods.items()}
    known |= {f"experiments.{name}.method_seeds": of.methods for name, of in run.items()}
    for place, names in known.items():
        keys = place.split(".")
        for name, said in (at(over, keys) or {}).items():
            there = {name: at(base, [*keys, name]) or {}}
            if name not in names and merge(there, {name: said}) != there:
                yield f"{place}.{name}"
    for name, of in run.items():
        for method in at(over, ["experiments", name, "choose", "methods"]) or ():
            if method not in of.methods:
                yield f"experiments.{name}.choose.methods: {method}"
    families = {of.family for of in run.values()}
    yield from (family for family in FAMILIES if family in over and family not in families)


def _wanted(args: argparse.Namespace) -> Wanted:
    return {key: names for key in PARTS if (names := getattr(args, key))}


def _chosen(plan: Params, wanted: Wanted) -> list[cells.Cell]:
    """The cells of a plan that are wanted, and the candidates of their choices, in its order.

    Raises UserError for a name that no cell has.
    """
    everything = cells.plan(plan)
    final = [cell for cell in everything if cell.kind == "cell"]
    for key, names in wanted.items():
        known = {getattr(cell, key) for cell in final}
        check_known(f"--{key}", names, known, f"{key} in the plan")
    kept = [c for c in final if all(getattr(c, key) in names for key, names in wanted.items())]
    paths = {cell.path for cell in kept}
    choices = cells.choices(plan)
    for path in {cell.choice for cell in kept if cell.choice}:
        paths |= {candidate.path for candidate in choices[path][1]}
    return [cell for cell in everything if cell.path in paths]


def whole(plan: Params, wanted: Wanted) -> dict[str, Any]:
    """What the workflow makes, by path, with all that defines it; of it the `wanted` cells."""
    chosen = _chosen(plan, wanted)
    waited_for = {cell.choice for cell in chosen}
    of = {key: names for key, names in wanted.items() if key != "method"}
    return {
        "scale": plan.scale,
        "directory": plan.directory,
        "cells": {cell.path: {**cell.definition, "choice": cell.choice} for cell in chosen},
        "choices": {
            path: {"setting": setting, "candidates": [candidate.path for candidate in candidates]}
            for path, (setting, candidates) in cells.choices(plan).items()
            if path in waited_for
        },
        "measurements": {
            path: job
            for path, job in cells.measurements(plan).items()
            if all(job[key] in names for key, names in of.items())
        },
        "source_networks": cells.source_networks(plan),
    }


def summary(plan: Params, wanted: Wanted) -> str:
    """The plan for people: a line per experiment and dataset, and what all of it comes to; of it
    the `wanted` cells.
    """
    everything = _chosen(plan, wanted)
    chosen = {path: setting for path, (setting, _) in cells.choices(plan).items()}
    counts = Counter((cell.experiment, cell.dataset) for cell in everything if cell.kind == "cell")
    rows = [("experiment", "dataset", "cells", "methods × seeds")]
    for (experiment, dataset), count in counts.items():
        own = [c for c in everything if (c.experiment, c.dataset) == (experiment, dataset)]
        by_seeds: dict[int, list[str]] = {}
        for method, number in Counter(cell.method for cell in own).items():
            by_seeds.setdefault(number, []).append(method)
        settings = {chosen[cell.choice] for cell in own if cell.choice}
        said = "; ".join(f"{', '.join(of)} × {number}" for number, of in by_seeds.items())
        if settings:
            said += f"; validation chooses {', '.join(sorted(settings))}"
        rows.append((experiment, dataset, str(count), said))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {said}" for a, b, c, said in rows
    ]
    candidates = sum(cell.kind == "candidate" for cell in everything)
    waited_for = {cell.choice for cell in everything if cell.choice}
    networks = ", ".join(cells.source_networks(plan)) or "none"
    timed = len(cells.measurements(plan))
    return "\n".join(
        [
            f"scale {plan.scale}, built in {plan.directory} on {plan.device}",
            "",
            *lines,
            "",
            f"{sum(counts.values())} cells; {candidates} candidates for {len(waited_for)} choices"
            + ("" if wanted else f"; {timed} measurements; source networks: {networks}"),
        ]
    )
