"""Settings of a cell that are well-formed but can't be run, each with the keys that clash.

Nothing here imports torch: it runs inside Snakemake.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from multistep.mistakes import explain, unknown
from multistep.schema import Choose, Params, options_of
from multistep.settings import FewShot, Transfer


class Keys:
    """Where a setting of a cell stands in params.yaml, and what else its experiment says."""

    def __init__(self, params: Params, experiment: str, method: str) -> None:
        self.params, self.name, self.method = params, experiment, method
        self.experiment = params.experiments[experiment]
        self.datasets = [params.dataset(d) for d in self.experiment.datasets]

    def path(self, key: str) -> str:
        """The layer that sets `key`, and the key."""
        if key in self.experiment.overrides.get(self.method, {}):
            return f"experiments.{self.name}.overrides.{self.method}.{key}"
        if key in self.params.methods[self.method].settings:
            return f"methods.{self.method}.settings.{key}"
        if key in self.experiment.settings:
            return f"experiments.{self.name}.settings.{key}"
        return f"{self.experiment.family}.{key}"


def impossible(params: Params, experiment: str, method: str, s: FewShot | Transfer) -> list[str]:
    """A line for each thing that can't be run."""
    keys = Keys(params, experiment, method)
    found = list(_steps(keys, s))
    if isinstance(s, Transfer):
        return [*found, *_transfer(keys, s)]
    return [*found, *_few_shot(keys, s), *_choice(keys, s, keys.experiment.choose)]


def _steps(keys: Keys, s: FewShot | Transfer) -> Iterator[str]:
    for key in ("inner_steps", "test_steps"):
        steps = getattr(s, key, 0)
        if steps % s.window:
            yield (
                f"{keys.path(key)}: {steps} steps are not divisible by "
                f"{keys.path('window')}={s.window}; choose a multiple of the window"
            )


def _transfer(keys: Keys, s: Transfer) -> Iterator[str]:
    params = keys.params
    if params.source_network(s.source) not in params.source_networks:
        known = params.source_networks
        yield from unknown(keys.path("source"), [s.source], known, "source network")
        return
    for key in ("source_taps", "target_taps"):
        taps = getattr(s, key)
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
    if s.test_episodes == 0:
        yield f"{keys.path('test_episodes')}: 0 is for candidates; choose at least 2"
    algorithm = keys.params.methods[keys.method].algorithm
    model = options_of(keys.experiment.family, algorithm)
    try:
        model.model_validate(s.options)
    except ValidationError as error:
        yield from explain(error, model, prefix=f"{keys.path('options')}.")
    for name in keys.datasets:
        dataset = keys.params.datasets[name]
        if s.ways > dataset.classes:
            yield (
                f"{keys.path('ways')}: {s.ways} ways, but datasets.{name} has "
                f"{dataset.classes} classes"
            )
        if dataset.images_per_class is None:
            yield f"datasets.{name}.images_per_class: missing; episodes need it"
        elif s.shots + s.queries > dataset.images_per_class:
            yield (
                f"{keys.path('queries')}: {s.queries} queries + {s.shots} shots "
                f"({keys.path('shots')}) exceed the {dataset.images_per_class} images per class "
                f"of datasets.{name}"
            )


def _choice(keys: Keys, s: FewShot, choose: Choose | None) -> Iterator[str]:
    """Candidates are scored on the validation classes, so there have to be some."""
    if choose is None or keys.method not in choose.methods:
        return
    path = f"experiments.{keys.name}.choose"
    candidate = s.model_dump() | choose.settings
    if not candidate["hold_out_validation"]:
        yield f"{path}: candidates need validation classes; set hold_out_validation to true"
    elif candidate["validate_every"] > candidate["iterations"]:
        yield (
            f"{path}.settings: validate_every is {candidate['validate_every']}, but a candidate "
            f"has only {candidate['iterations']} iterations; choose less"
        )
    if len(set(choose.values)) < len(choose.values):
        yield f"{path}.values: {choose.values} has a value twice"
