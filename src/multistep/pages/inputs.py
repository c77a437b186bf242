"""Which files of the plan a table or figure is drawn from. Read inside Snakemake: no torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from multistep.pages.kinds import Figure, Table
from multistep.plan.cells import Cell
from multistep.plan.schema import Params


def results(
    page: Table | Figure, cells: Sequence[Cell], measurements: Collection[str], params: Params
) -> list[str]:
    """Paths of results, measurements and prepared datasets, relative to the scale's directory.

    `measurements` are the paths of those that the plan makes. What is not in the plan is left out
    (of datasets those without any cell); empty if this scale computes nothing for the page.
    """
    wants = page.wants()
    selected = {(experiment, params.dataset(d), method) for experiment, d, method in wants.cells}
    found = [c.path for c in cells if (c.experiment, c.dataset, c.method) in selected]
    for experiment, dataset in wants.measured:
        path = f"results/measure/{experiment}/{params.dataset(dataset)}.json"
        if path in measurements:
            found.append(path)
    prepared = {cell.dataset for cell in cells}
    for dataset in wants.prepared:
        if params.dataset(dataset) in prepared:
            found.append(f"data/processed/{params.dataset(dataset)}/dataset.json")
    return list(dict.fromkeys(found))


def families(params: Params) -> dict[str, str]:
    """The half of the paper that each method belongs to, by what experiments run or time."""
    found: dict[str, str] = {}
    for experiment in params.experiments.values():
        timed = experiment.measured.methods if experiment.measured else []
        found.update(dict.fromkeys([*experiment.methods, *timed], experiment.family))
    return found
