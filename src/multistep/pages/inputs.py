"""What a page is drawn from: files of the plan, and names of params.yaml. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from multistep.pages.context import Context
from multistep.pages.spec import Spec
from multistep.plan.cells import Cell
from multistep.plan.schema import Params


def results(
    page: Spec, cells: Sequence[Cell], measurements: Collection[str], params: Params
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


def context(params: Params) -> Context:
    """The names that pages print; the order of the methods in a family gives them their colours."""
    families: dict[str, str] = {}
    for experiment in params.experiments.values():
        timed = experiment.measured.methods if experiment.measured else []
        families.update(dict.fromkeys([*experiment.methods, *timed], experiment.family))
    return Context(
        scale=params.scale,
        datasets={name: dataset.title for name, dataset in params.datasets.items()},
        methods={name: method.title for name, method in params.methods.items()},
        families=families,
        source_networks={name: n.title for name, n in params.source_networks.items()},
        stand_ins=params.stand_ins,
    )
