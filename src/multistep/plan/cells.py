"""The plan: which cells exist, what each one is, and where its result lies.

A cell is experiment × dataset × method × seed with all its settings. Tables and figures select
cells; cells don't know them, so that a run which two tables share happens once. Where a setting is
chosen by validation, its candidates are cells of the plan too, and the cells that wait for the
choice lack that setting. Nothing here imports torch: it runs inside Snakemake, for thousands of
cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from multistep.files import canonical_json
from multistep.plan.params import candidate_settings, cell_settings, merge
from multistep.plan.schema import Choose, Experiment, Params


@dataclass(frozen=True)
class Cell:
    """One training run. `settings` and `data` are canonical JSON, so that cells can be hashed.

    `choice`: the path of what is chosen for it, if anything is.
    """

    scale: str
    family: str
    experiment: str
    dataset: str
    method: str
    algorithm: str
    seed: int
    data: str
    settings: str
    choice: str | None = None

    @property
    def path(self) -> str:
        """The result, relative to the scale's directory."""
        return f"results/{self.experiment}/{self.dataset}/{self.method}/{self.seed}.json"

    @property
    def json(self) -> str:
        """Everything that defines the run, as the command line takes it."""
        head = {k: v for k, v in vars(self).items() if k not in ("data", "settings", "choice")}
        body = canonical_json(head)[:-1]
        return f'{body}, "data": {self.data}, "settings": {self.settings}}}'


def plan(params: Params) -> list[Cell]:
    """Every cell of every experiment, each once; candidates before those that wait for them."""
    cells = [cell for _, candidates in choices(params).values() for cell in candidates]
    for name, experiment in _experiments(params):
        for method in experiment.methods:
            settings = _cell_settings(params, name, method)
            choose = _choose(experiment, method)
            if choose:
                del settings[choose.setting]
            for dataset in experiment.datasets:
                found = params.dataset(dataset)
                choice = _choice_path(name, found, method) if choose else None
                for seed in experiment.seeds or params.seeds:
                    where = (experiment.family, name, found, method, seed)
                    cells.append(_cell(params, *where, settings, choice))
    return list({cell.path: cell for cell in cells}.values())


def choices(params: Params) -> dict[str, tuple[str, list[Cell]]]:
    """Path of each choice → the setting and its candidates."""
    found = {}
    for name, experiment in _experiments(params):
        for method in experiment.methods:
            choose = _choose(experiment, method)
            if choose is None:
                continue
            own = candidate_settings(params, name, method, choose).model_dump()
            for dataset in map(params.dataset, experiment.datasets):
                found[_choice_path(name, dataset, method)] = (
                    choose.setting,
                    [
                        _cell(
                            params,
                            experiment.family,
                            f"{name}-{choose.setting}-{value:g}",
                            dataset,
                            method,
                            seed,
                            own | {choose.setting: value},
                        )
                        for value in choose.values
                        for seed in choose.seeds
                    ],
                )
    return found


def _choose(experiment: Experiment, method: str) -> Choose | None:
    """What is chosen for a method of an experiment."""
    choose = experiment.choose
    return choose if choose is not None and method in choose.methods else None


def _choice_path(experiment: str, dataset: str, method: str) -> str:
    return f"results/choices/{experiment}/{dataset}/{method}.json"


def _cell(
    params: Params,
    family: str,
    experiment: str,
    dataset: str,
    method: str,
    seed: int,
    settings: dict[str, Any],
    choice: str | None = None,
) -> Cell:
    return Cell(
        scale=params.scale,
        family=family,
        experiment=experiment,
        dataset=dataset,
        method=method,
        algorithm=params.methods[method].algorithm,
        seed=seed,
        data=canonical_json(params.datasets[dataset].prepare),
        settings=canonical_json(settings),
        choice=choice,
    )


def measurements(params: Params) -> dict[str, dict[str, Any]]:
    """Path of each measurement (one per experiment and dataset of the plan) → its definition."""
    jobs = {}
    for experiment_name, experiment in _experiments(params):
        timed = experiment.measured or experiment
        for dataset in timed.datasets:
            if not timed.methods or dataset not in experiment.datasets:
                continue
            name = params.dataset(dataset)
            jobs[f"results/measure/{experiment_name}/{name}.json"] = {
                "scale": params.scale,
                "family": experiment.family,
                "experiment": experiment_name,
                "dataset": name,
                "methods": {
                    method: {
                        "algorithm": params.methods[method].algorithm,
                        "settings": _measured_settings(params, experiment_name, method),
                    }
                    for method in timed.methods
                },
                "measure": params.measure.model_dump(),
            }
    return jobs


def select(
    cells: list[Cell], *, dataset: str, experiments: list[str], methods: list[str]
) -> list[Cell]:
    """The cells that a table or figure shows."""
    return [
        c
        for c in cells
        if c.dataset == dataset and c.experiment in experiments and c.method in methods
    ]


def source_networks(params: Params) -> list[str]:
    """The source networks that cells of the plan take features from."""
    found = []
    for name, experiment in _experiments(params):
        if experiment.family == "transfer" and experiment.datasets:
            for method in experiment.methods:
                found.append(_cell_settings(params, name, method).get("source"))
    return sorted(set(filter(None, found)))


def _experiments(params: Params) -> Iterator[tuple[str, Experiment]]:
    """Those of the families that this scale runs."""
    for name, experiment in params.experiments.items():
        if experiment.family in params.families:
            yield name, experiment


def _measured_settings(params: Params, name: str, method: str) -> dict[str, Any]:
    """Settings to be timed with: all methods on meta-batches of the experiment's size."""
    settings = _cell_settings(params, name, method)
    experiment = params.experiments[name]
    if experiment.family == "few_shot":
        settings["meta_batch"] = merge(params.few_shot, experiment.settings)["meta_batch"]
    return settings


def _cell_settings(params: Params, experiment: str, method: str) -> dict[str, Any]:
    """Settings of a cell, with the source network that this scale really uses."""
    settings = cell_settings(params, experiment, method).model_dump()
    if "source" in settings:
        settings["source"] = params.source_network(settings["source"])
    return settings
