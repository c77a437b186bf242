"""What a page is drawn from: files of the plan, what they have to be, names of params.yaml.

Read inside Snakemake: no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multistep.job.results import unequal
from multistep.pages.context import Context
from multistep.pages.query import record_name
from multistep.pages.spec import Spec
from multistep.plan import cells
from multistep.plan.cells import Cell
from multistep.plan.schema import Params


class Plan(NamedTuple):
    """The plan of a scale: cells and measurements by the paths of their files."""

    params: Params
    cells: dict[str, Cell]
    measurements: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, params: Params) -> Plan:
        """All that `params` asks for."""
        planned = {cell.path: cell for cell in cells.plan(params)}
        jobs = cells.measurements(params).items()
        return cls(params, planned, {path: job for path, job in jobs if job["methods"]})


def results(spec: Spec, plan: Plan) -> list[str]:
    """Paths of results, measurements and prepared datasets, relative to the scale's directory.

    What is not in the plan is left out (of datasets those without any cell); empty if this scale
    computes nothing for the page.
    """
    wants, dataset_of = spec.wants(), plan.params.dataset
    selected, evaluated = (
        {(experiment, dataset_of(d), method) for experiment, d, method in names}
        for names in (wants.cells, wants.evaluated)
    )
    of = {(c.path, c.evaluation): (c.experiment, c.dataset, c.method) for c in plan.cells.values()}
    found = [path for (path, _), names in of.items() if names in selected]
    found += [path for (_, path), names in of.items() if names in evaluated]
    for experiment, dataset in wants.measured:
        path = f"results/measure/{experiment}/{dataset_of(dataset)}.json"
        if path in plan.measurements:
            found.append(path)
    prepared = {cell.dataset for cell in plan.cells.values()}
    for dataset in wants.prepared:
        if dataset_of(dataset) in prepared:
            found.append(f"data/processed/{dataset_of(dataset)}/dataset.json")
    return list(dict.fromkeys(found))


def unshown(
    pages: Mapping[str, Mapping[str, Spec]], plan: Plan, paper: Callable[[], Plan]
) -> list[str]:
    """Warnings, a line each: of cells that no page shows, and of methods of a page that none of
    its experiments runs, here as in the `paper` (a scale that runs less leaves rows out).
    """
    found, shown = [], set[str]()
    for name, spec in (item for form in pages.values() for item in form.items()):
        files = results(spec, plan)
        shown.update(files)
        lacking = _lacking(spec, plan) if files else set()
        if lacking and (lacking := lacking & _lacking(spec, paper())):
            found.append(
                f"{name} lists {', '.join(sorted(lacking))}, which none of its experiments runs; "
                "add to their `methods`, or leave out there"
            )
    unseen: dict[str, list[str]] = {}
    cells = [c for c in plan.cells.values() if c.kind == "cell"]
    for cell in cells:
        if shown.isdisjoint((cell.path, cell.evaluation)):
            unseen.setdefault(f"{cell.experiment} on {cell.dataset}", []).append(cell.method)
    if unseen:
        of = [f"{name} ({', '.join(dict.fromkeys(methods))})" for name, methods in unseen.items()]
        more = f" and {len(of) - 3} more" if of[3:] else ""
        found.append(
            f"no page shows {sum(map(len, unseen.values()))} of {len(cells)} cells: "
            f"{'; '.join(of[:3])}{more}; add a page (docs/adding.md), or leave them out"
        )
    return found


def _lacking(spec: Spec, plan: Plan) -> set[str]:
    """Methods of a page of which the plan has no cell that it shows."""
    planned = {(c.experiment, c.dataset, c.method) for c in plan.cells.values()}
    wanted = spec.wants().cells
    run = {m for e, d, m in wanted if (e, plan.params.dataset(d), m) in planned}
    return {method for _, _, method in wanted} - run


def expectations(files: Sequence[str], plan: Plan) -> dict[str, Any]:
    """What the plan says of a page's files, for `query.read`; of seeds that share all else once."""
    groups: dict[str, dict[str, Any]] = {}
    jobs, described = {}, {}
    for file in files:
        name = record_name(file)
        path = file.replace("evaluations/", "results/", 1)  # of the cell
        if path in plan.cells:
            cell = json.loads(plan.cells[path].json)
            seed = cell.pop("seed")
            groups.setdefault(name, {"cell": cell, "seeds": []})["seeds"].append(seed)
        elif file in plan.measurements:
            jobs[name] = plan.measurements[file]
        else:
            dataset = Path(file).parent.name
            described[dataset] = plan.params.datasets[dataset].prepare
    return {"cells": groups, "measurements": jobs, "prepared": described}


def context(params: Params) -> Context:
    """The names that pages print."""
    drawn = {
        name
        for name, dataset in params.datasets.items()
        if any(archive.drawn is not None for archive in dataset.archives.values())
    }
    networks = params.source_networks.items()
    drawn |= {
        name
        for name, n in networks
        if n.dataset and not n.archives and params.dataset(n.dataset) in drawn
    }
    return Context(
        scale=params.scale,
        datasets={name: dataset.title for name, dataset in params.datasets.items()},
        methods={name: method.title for name, method in params.methods.items()},
        source_networks={name: n.title for name, n in params.source_networks.items()},
        stand_ins=params.stand_ins,
        drawn=sorted(drawn),
    )


def differences(spec: Spec, plan: Plan, paper: Plan) -> dict[str, str]:
    """Where a page's cells and measured methods aren't the paper's: every setting that differs.

    By experiment/dataset/method in the page's words (before it "measure/" for what is timed).
    """
    return {name: told(keys) for name, keys in differing(spec, plan, paper).items()}


def differing(spec: Spec, plan: Plan, paper: Plan) -> dict[str, list[tuple[str, Any, Any]]]:
    """The same as (key, value here, the paper's) of every setting; none: it has no such cell."""
    found: dict[str, list[tuple[str, Any, Any]]] = {}
    theirs = dict(_definitions(spec, paper))
    for name, ours in _definitions(spec, plan):
        right = theirs.get(name)
        if right is None:
            found[name] = []
            continue
        for key in ("dataset", "source"):  # another one is named and not taken apart
            titles = [d[key]["title"] for d in (ours, right) if key in d]
            if len(set(titles)) > 1:
                ours, right = ours | {key: titles[0]}, right | {key: titles[1]}
        keys = [
            (key.lstrip(".").removeprefix("settings."), is_, was)
            for key, is_, was in unequal("", ours, right)
        ]
        if keys:
            found[name] = keys
    return found


def told(keys: Sequence[tuple[str, Any, Any]]) -> str:
    """Settings that differ, as a page says it."""
    texts = [f"{key} {_text(is_)} (the paper's: {_text(was)})" for key, is_, was in keys]
    return "; ".join(texts) or "the paper has no such cell"


def _definitions(spec: Spec, plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """What makes each cell and each measured method of a page what it is, inputs included."""
    params = plan.params

    def inputs(dataset: str, settings: dict[str, Any]) -> dict[str, Any]:
        about = params.datasets[params.dataset(dataset)].model_dump(exclude={"images", "classes"})
        for archive in about["archives"].values():
            del archive["urls"]
        network = params.source_networks.get(settings.pop("source", ""))
        source = {"source": network.model_dump()} if network else {}
        return {"dataset": about, **source, "settings": settings}

    planned = {(c.experiment, c.dataset, c.method): c for c in plan.cells.values()}
    for experiment, dataset, method in (*spec.wants().cells, *spec.wants().evaluated):
        cell = planned.get((experiment, params.dataset(dataset), method))
        if cell is not None:
            choose = params.experiments[experiment].choice(method)
            yield (
                f"{experiment}/{dataset}/{method}",
                {
                    "algorithm": cell.algorithm,
                    **inputs(dataset, json.loads(cell.settings)),
                    "choose": choose.model_dump(exclude={"methods"}) if choose else {},
                },
            )
    for experiment, dataset in spec.wants().measured:
        path = f"results/measure/{experiment}/{params.dataset(dataset)}.json"
        job = plan.measurements.get(path, {"methods": {}})
        for method, timed in job["methods"].items():
            yield (
                f"measure/{experiment}/{dataset}/{method}",
                {
                    "algorithm": timed["algorithm"],
                    **inputs(dataset, dict(timed["settings"])),
                    "measure": job["measure"],
                },
            )


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
