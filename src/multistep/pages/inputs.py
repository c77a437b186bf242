"""What a page is drawn from: files of the plan, what they have to be, names of params.yaml.

Read inside Snakemake: no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from multistep.job.results import unequal
from multistep.pages.context import Context
from multistep.pages.query import record_name
from multistep.pages.spec import Spec
from multistep.plan import cells
from multistep.plan.cells import Cell
from multistep.plan.schema import Params


@dataclass(frozen=True)
class Plan:
    """The plan of a scale: cells and measurements by the paths of their files."""

    params: Params
    cells: dict[str, Cell]
    measurements: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, params: Params) -> Plan:
        """All that `params` asks for."""
        planned = {cell.path: cell for cell in cells.plan(params)}
        return cls(params, planned, cells.measurements(params))

    @cached_property
    def seeds(self) -> dict[tuple[str, str, str], list[Cell]]:
        """The cells by experiment, dataset and method."""
        found: dict[tuple[str, str, str], list[Cell]] = {}
        for cell in self.cells.values():
            found.setdefault((cell.experiment, cell.dataset, cell.method), []).append(cell)
        return found

    def measured(self, experiment: str, dataset: str) -> str:
        """The path of a measurement, whether it is planned or not; `dataset` as pages call it."""
        return f"results/measure/{experiment}/{self.params.used(dataset)}.json"


def results(spec: Spec, plan: Plan) -> list[str]:
    """Paths of results, evaluations, measurements and prepared datasets, relative to the scale's
    directory.

    What is not in the plan is left out (of datasets those without any cell); empty if this scale
    computes nothing for the page.
    """
    wants, used = spec.wants(), plan.params.used
    selected, evaluated = (
        {(experiment, used(d), method) for experiment, d, method in names}
        for names in (wants.cells, wants.evaluated)
    )
    found = [c.path for names, of in plan.seeds.items() if names in selected for c in of]
    found += [c.evaluation for names, of in plan.seeds.items() if names in evaluated for c in of]
    measured = (plan.measured(*pair) for pair in wants.measured)
    found += [path for path in measured if path in plan.measurements]
    prepared, trained_on = map(used, wants.prepared), {names[1] for names in plan.seeds}
    found += [f"data/processed/{name}/dataset.json" for name in prepared if name in trained_on]
    return list(dict.fromkeys(found))


def expectations(files: Sequence[str], plan: Plan) -> dict[str, Any]:
    """What the plan says of a page's files, for `query.read` and `query.files`.

    It goes to a page's job on one command line, of which Linux takes 128 KiB: so seeds that share
    all else have that once, and seeds in a row are said by the first and the last.
    """
    groups: dict[str, dict[str, Any]] = {}
    jobs, described = {}, {}
    for file in files:
        path = file.replace("evaluations/", "results/", 1)  # of the cell
        if (planned := plan.cells.get(path)) is not None:
            name = f"{planned.experiment}/{planned.dataset}/{planned.method}"
            if name not in groups:
                cell = {k: v for k, v in planned.definition.items() if k != "seed"}
                groups[name] = {"cell": cell, "seeds": [], "evaluated": []}
            rows = groups[name]["seeds" if path == file else "evaluated"]
            if rows and planned.seed == rows[-1][1] + 1:
                rows[-1][1] = planned.seed
            else:
                rows.append([planned.seed, planned.seed])
        elif file in plan.measurements:
            jobs[record_name(file)] = plan.measurements[file]
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
        if n.dataset and not n.archives and params.used(n.dataset) in drawn
    }
    return Context(
        scale=params.scale,
        datasets={name: dataset.title for name, dataset in params.datasets.items()},
        methods={name: method.title for name, method in params.methods.items()},
        source_networks={name: n.title for name, n in params.source_networks.items()},
        stand_ins=params.stand_ins,
        drawn=sorted(drawn),
    )


def context_of(spec: Spec, plan: Plan, paper: Plan) -> Context:
    """The names that a page prints, and how what it shows isn't the paper's."""
    differences = {name: told(keys) for name, keys in differing(spec, plan, paper).items()}
    return context(plan.params).model_copy(update={"differences": differences})


def differing(spec: Spec, plan: Plan, paper: Plan) -> dict[str, list[tuple[str, Any, Any]]]:
    """Where a page's cells and measured methods aren't the paper's: (key, value here, the paper's)
    of every setting that differs; none: the paper has no such cell.

    By experiment/dataset/method in the page's words (before it "measure/" for what is timed).
    """
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
    """Settings that differ, as a page says it; what the paper leaves open is the paper scale's."""
    texts = [f"{key} {_text(is_)} (paper scale: {_text(was)})" for key, is_, was in keys]
    return "; ".join(texts) or "the paper has no such cell"


def _definitions(spec: Spec, plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """What makes each cell and each measured method of a page what it is, inputs included."""
    params = plan.params

    def inputs(dataset: str, settings: dict[str, Any]) -> dict[str, Any]:
        about = params.datasets[params.used(dataset)].model_dump(exclude={"images", "classes"})
        for archive in about["archives"].values():
            del archive["urls"]
        network = params.source_networks.get(settings.pop("source", ""))
        source = {"source": network.model_dump()} if network else {}
        return {"dataset": about, **source, "settings": settings}

    for experiment, dataset, method in (*spec.wants().cells, *spec.wants().evaluated):
        for cell in plan.seeds.get((experiment, params.used(dataset), method), [])[:1]:
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
        job = plan.measurements.get(plan.measured(experiment, dataset), {"methods": {}})
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
