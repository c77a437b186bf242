"""Settings of a cell that are well-formed but can't be run, each with the keys that clash.

Nothing here imports torch: it runs inside Snakemake.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from multistep.data import class_splits
from multistep.data.settings import Dataset
from multistep.fewshot.settings import FewShot
from multistep.files import UserError
from multistep.plan.families import algorithms
from multistep.plan.mistakes import explain, unknown
from multistep.plan.schema import Choose, Params
from multistep.transfer.settings import Training, Transfer


class Keys:
    """Where a setting of a cell stands in params.yaml, and what else its experiment says.

    `choose`: for settings of its candidates, which have one layer more.
    """

    def __init__(
        self, params: Params, experiment: str, method: str, choose: Choose | None = None
    ) -> None:
        self.params, self.name, self.method = params, experiment, method
        self.choose = choose
        self.experiment = params.experiments[experiment]
        self.datasets = [params.dataset(d) for d in self.experiment.datasets]

    def path(self, key: str) -> str:
        """The layer that sets `key`, and the key."""
        if self.choose is not None and key in self.choose.settings:
            return f"experiments.{self.name}.choose.settings.{key}"
        if key in self.experiment.overrides.get(self.method, {}):
            return f"experiments.{self.name}.overrides.{self.method}.{key}"
        if key in self.params.methods[self.method].settings:
            return f"methods.{self.method}.settings.{key}"
        if key in self.experiment.settings:
            return f"experiments.{self.name}.settings.{key}"
        return f"{self.experiment.family}.{key}"


def impossible(params: Params, experiment: str, method: str, s: FewShot | Training) -> list[str]:
    """A line for each thing that can't be run."""
    keys = Keys(params, experiment, method)
    found = list(_steps(keys, s))
    if isinstance(s, Training):
        return [*found, *_transfer(keys, s)]
    if s.test_episodes == 0:
        found.append(f"{keys.path('test_episodes')}: 0 is for candidates; choose at least 2")
    return [*found, *_few_shot(keys, s)]


def impossible_candidate(
    params: Params, experiment: str, method: str, choose: Choose, s: FewShot
) -> list[str]:
    """The same for the candidates of a choice, whose settings `s` are but for its values."""
    keys = Keys(params, experiment, method, choose)
    return [*_steps(keys, s), *_few_shot(keys, s), *_choice(keys, s, choose)]


def _steps(keys: Keys, s: FewShot | Training) -> Iterator[str]:
    if not isinstance(s, FewShot | Transfer):
        return
    for key in ("inner_steps", "test_steps"):
        steps = getattr(s, key, 0)
        if steps % s.window:
            yield (
                f"{keys.path(key)}: {steps} steps are not divisible by "
                f"{keys.path('window')}={s.window}; choose a multiple of the window"
            )


def _transfer(keys: Keys, s: Training) -> Iterator[str]:
    params = keys.params
    if isinstance(s, Transfer) and params.source_network(s.source) not in params.source_networks:
        known = params.source_networks
        yield from unknown(keys.path("source"), [s.source], known, "source network")
        return
    for key in ("source_taps", "target_taps"):
        taps = getattr(s, key, [])
        if len(set(taps)) < len(taps):
            yield f"{keys.path(key)}: {taps} names a tap twice"
    for name in keys.datasets:
        dataset = params.datasets[name]
        if len(dataset.images or {}) < 3:
            yield f"datasets.{name}.images: missing; transfer needs train, validation and test"
        size = dataset.prepare.get("size")
        if s.augmentation == "pad_crop" and size != s.size:
            yield (
                f"{keys.path('size')}: {s.size}, but datasets.{name}.prepare.size is {size}, and "
                f"{keys.path('augmentation')} pad_crop doesn't resize"
            )
    if keys.experiment.choose is not None:
        yield f"experiments.{keys.name}.choose: only few_shot has candidates; leave it out"


def _few_shot(keys: Keys, s: FewShot) -> Iterator[str]:
    if s.hold_out_validation and s.validate_every % s.log_every:
        yield (
            f"{keys.path('validate_every')}: {s.validate_every} is not a multiple of "
            f"{keys.path('log_every')}={s.log_every}; the history has a line per log_every "
            "iterations"
        )
    if s.selection == "best" and not s.hold_out_validation:
        yield (
            f"{keys.path('selection')}: best needs validation classes; set "
            f"{keys.path('hold_out_validation')} to true, or choose last"
        )
    algorithm = algorithms(keys.experiment.family).get(keys.params.methods[keys.method].algorithm)
    try:
        algorithm.Options.model_validate(s.options)
        algorithm(s)
    except ValidationError as error:
        yield from explain(error, algorithm.Options, prefix=f"{keys.path('options')}.")
    except UserError as error:  # names the setting that has to change
        key, _, problem = str(error).partition(": ")
        first, dot, rest = key.partition(".")
        yield f"{keys.path(first)}{dot}{rest}: {problem}"
    for name in keys.datasets:
        dataset = keys.params.datasets[name]
        if s.ways > dataset.classes:
            yield (
                f"{keys.path('ways')}: {s.ways} ways, but datasets.{name} has "
                f"{dataset.classes} classes"
            )
        elif counts := _class_counts(dataset, s.hold_out_validation):
            part = min(counts, key=lambda part: counts[part])
            if s.ways > counts[part]:
                yield (
                    f"{keys.path('ways')}: {s.ways} ways, but datasets.{name} has {counts[part]} "
                    f"{part} classes (prepare.split: {dataset.prepare['split']})"
                )
        if dataset.images_per_class is None:
            yield f"datasets.{name}.images_per_class: missing; episodes need it"
        elif s.shots + s.queries > dataset.images_per_class:
            yield (
                f"{keys.path('queries')}: {s.queries} queries + {s.shots} shots "
                f"({keys.path('shots')}) exceed the {dataset.images_per_class} images per class "
                f"of datasets.{name}"
            )


def _class_counts(dataset: Dataset, hold_out_validation: bool) -> dict[str, int]:
    """Classes that episodes of each part are drawn from; empty if only the data can tell."""
    split = dataset.prepare.get("split")
    archives = list(dataset.archives.values())
    counts: dict[str, int] = {}
    if (file := class_splits.list_file(dataset.loader, str(split))).exists():
        counts = dict(_committed(file))
    elif dataset.loader == "omniglot" and split == "sorted":
        counts = dict(zip(class_splits.PARTS, class_splits.SIZES, strict=True))
    elif dataset.loader == "omniglot" and split == "proportional" and dataset.classes >= 3:
        parts = class_splits.proportional([str(i) for i in range(dataset.classes)])
        counts = {part: len(parts[part]) for part in parts}
    elif split == "listed" and len(archives) == 1 and archives[0].drawn is not None:
        counts = {part: archives[0].drawn[part] for part in class_splits.PARTS}
    if counts and not hold_out_validation:
        counts["train"] += counts.pop("validation")
    return counts


@cache
def _committed(file: Path) -> dict[str, int]:
    """Classes of each part of a committed list."""
    parts = class_splits.read_list(file)
    return {part: len(parts[part]) for part in class_splits.PARTS}


def _choice(keys: Keys, s: FewShot, choose: Choose) -> Iterator[str]:
    """Candidates are scored on the validation classes, so there have to be some."""
    path = f"experiments.{keys.name}.choose"
    if not s.hold_out_validation:
        yield f"{path}: candidates need validation classes; set hold_out_validation to true"
    elif s.validate_every > s.iterations:
        yield (
            f"{path}.settings: validate_every is {s.validate_every}, but a candidate "
            f"has only {s.iterations} iterations; choose less"
        )
    if tested := choose.settings.get("test_episodes"):
        yield f"{path}.settings.test_episodes: {tested}, but no candidate is tested; leave it out"
    if len(set(choose.values)) < len(choose.values):
        yield f"{path}.values: {choose.values} has a value twice"
