"""The plan: which cells exist, what each one is, and where its result lies.

A cell is experiment × dataset × method × seed with all its settings. Tables and figures select
cells; cells don't know them, so that a run which two tables share happens once. Where a setting is
chosen by validation, its candidates are cells of the plan too, and the cells that wait for the
choice lack that setting. Nothing here imports torch: it runs inside Snakemake, for thousands of
cells.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, fields
from typing import Any, Literal

from multistep.files import canonical_json
from multistep.plan.params import cell_settings
from multistep.plan.schema import Params


@dataclass(frozen=True, slots=True)
class Cell:
    """One training run. `settings` and `data` are canonical JSON, so that cells can be hashed.

    `kind` candidate: it helps to choose a setting and never meets the test classes. `choice`: the
    path of what is chosen for a cell, if anything is.
    """

    scale: str
    family: str
    experiment: str
    dataset: str
    method: str
    algorithm: str
    seed: int
    kind: Literal["cell", "candidate"]
    data: str
    settings: str
    choice: str | None = None

    @property
    def path(self) -> str:
        """The result, relative to the scale's directory; one string for all that ask."""
        name = f"results/{self.experiment}/{self.dataset}/{self.method}/{self.seed}.json"
        return sys.intern(name)

    @property
    def evaluation(self) -> str:
        """Where a test of its parameters lies, beside what isn't trained."""
        return self.path.replace("results/", "evaluations/", 1)

    @property
    def json(self) -> str:
        """Everything that defines the run, as the command line takes it."""
        apart = ("data", "settings", "choice")  # as they are, or not at all
        head = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in apart}
        body = canonical_json(head)[:-1]
        return f'{body}, "data": {self.data}, "settings": {self.settings}}}'

    @property
    def definition(self) -> dict[str, Any]:
        """The same, as records have it."""
        definition: dict[str, Any] = json.loads(self.json)
        return definition


Choice = tuple[str, tuple[Cell, ...]]  # the setting that is chosen, and the candidates


def plan(params: Params) -> list[Cell]:
    """Every cell of every experiment, each once; candidates before those that wait for them."""
    cells = [cell for _, candidates in choices(params).values() for cell in candidates]
    for name, experiment in params.run.items():
        for method in experiment.methods:
            settings = _settings(params, name, method)
            choose = experiment.choice(method)
            if choose:
                del settings[choose.setting]
            text = canonical_json(settings)  # one for all its cells
            seeds = experiment.method_seeds.get(method) or experiment.seeds or params.seeds
            for dataset in map(params.used, experiment.datasets):
                choice = choice_path(name, dataset, method) if choose else None
                for seed in seeds:
                    of = (experiment.family, name, dataset, method, seed)
                    cells.append(_cell(params, *of, text, choice))
    return list({cell.path: cell for cell in cells}.values())


def choices(params: Params) -> dict[str, Choice]:
    """The choices of a plan by their paths."""
    found = {}
    for name, experiment in params.run.items():
        for method in experiment.methods:
            choose = experiment.choice(method)
            if choose is None:
                continue
            tried = {
                value: canonical_json(_settings(params, name, method, candidate=value))
                for value in choose.values
            }
            for dataset in map(params.used, experiment.datasets):
                candidates = []
                for value, settings in tried.items():
                    own = f"{name}-{choose.setting}-{value:g}"
                    for seed in choose.seeds:
                        of = (experiment.family, own, dataset, method, seed)
                        candidates.append(_cell(params, *of, settings, kind="candidate"))
                path = choice_path(name, dataset, method)
                found[path] = (choose.setting, tuple(candidates))
    return found


def choice_path(experiment: str, dataset: str, method: str) -> str:
    """Where a choice lies in its scale's folder."""
    return f"results/choices/{experiment}/{dataset}/{method}.json"


def _cell(
    params: Params, family: str, experiment: str, dataset: str, method: str, seed: int,
    settings: str, choice: str | None = None, kind: Literal["cell", "candidate"] = "cell",
) -> Cell:  # fmt: skip
    return Cell(
        scale=params.scale, family=family, experiment=experiment, dataset=dataset, method=method,
        algorithm=params.methods[method].algorithm, seed=seed, kind=kind,
        data=sys.intern(canonical_json(params.datasets[dataset].prepare)), settings=settings,
        choice=choice,
    )  # fmt: skip


def measurements(params: Params) -> dict[str, dict[str, Any]]:
    """Path of each measurement (one per experiment and dataset of the plan) → its definition."""
    jobs = {}
    for name, experiment in params.run.items():
        timed = experiment.measured or experiment
        for dataset in timed.datasets:
            if not timed.methods or dataset not in experiment.datasets:
                continue
            used = params.used(dataset)
            jobs[f"results/measure/{name}/{used}.json"] = {
                "scale": params.scale,
                "family": experiment.family,
                "experiment": name,
                "dataset": used,
                "data": params.datasets[used].prepare,
                "methods": {
                    method: {
                        "algorithm": params.methods[method].algorithm,
                        "settings": _measured_settings(params, name, method),
                    }
                    for method in timed.methods
                },
                "measure": params.measure.model_dump(),
            }
    return jobs


def source_networks(params: Params) -> list[str]:
    """The source networks that cells of the plan take features from."""
    found = set()
    for name, experiment in params.run.items():
        for method in experiment.methods if experiment.datasets else []:
            if source := _settings(params, name, method).get("source"):
                found.add(source)
    return sorted(found)


def _measured_settings(params: Params, name: str, method: str) -> dict[str, Any]:
    """Settings to be timed with: all methods on meta-batches of the experiment's size."""
    settings = _settings(params, name, method)
    experiment = params.experiments[name]
    if experiment.family == "few_shot":
        own = experiment.settings.get("meta_batch", params.few_shot["meta_batch"])
        settings["meta_batch"] = own
    return settings


def _settings(
    params: Params, experiment: str, method: str, candidate: float | None = None
) -> dict[str, Any]:
    """Settings of a cell, with the source network that this scale really uses."""
    settings: dict[str, Any] = cell_settings(params, experiment, method, candidate).model_dump()
    if "source" in settings:
        settings["source"] = params.used(settings["source"])
    return settings
