"""The shape of `params.yaml`: what is run, around the settings of each family.

Jobs that train don't import this module, so that adding to it makes no cell stale. Nothing here
imports torch: it is read inside Snakemake.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr

from multistep.data.settings import Dataset
from multistep.job.settings import Measure
from multistep.settings import Model, Name, Once, Seed, Title
from multistep.transfer.source_settings import SourceNetwork


class Method(Model):
    title: Title
    algorithm: str
    settings: dict[str, Any]


class Measured(Model):
    """What the measurements of an experiment time, where that is not just its own cells."""

    datasets: Annotated[list[str], Once]
    methods: Annotated[list[str], Once]


class Choose(Model):
    """A setting chosen by validation, for each dataset and method: see `multistep.plan.choose`.

    The candidates are cells with one of `values` each, `seeds`, and `settings` over their own.
    """

    setting: str
    values: Annotated[list[float], Once] = Field(min_length=1)
    methods: Annotated[list[str], Once]
    seeds: Annotated[list[Seed], Once] = Field(min_length=1)
    settings: dict[str, Any]


class Experiment(Model):
    """`overrides`: settings of single methods in this experiment, over all others; `method_seeds`:
    their seeds, in the place of all methods'.
    """

    family: Literal["few_shot", "transfer"]
    datasets: Annotated[list[str], Once]
    methods: Annotated[list[str], Once]
    settings: dict[str, Any]
    overrides: dict[str, dict[str, Any]] = {}
    choose: Choose | None = None
    seeds: Annotated[list[Seed], Once] | None = Field(default=None, min_length=1)
    method_seeds: dict[str, Annotated[list[Seed], Once, Field(min_length=1)]] = {}
    measured: Measured | None = None

    def choice(self, method: str) -> Choose | None:
        """What validation chooses for a method, if anything."""
        return self.choose if self.choose and method in self.choose.methods else None


class Params(Model):
    scale: Name
    directory: str
    pages_of: Name | None = None  # the scale whose folder of workflow/report/ lies under its own
    device: Literal["cuda", "cpu"]
    threads: int = Field(ge=1, le=1024)
    checkpoint_seconds: float = Field(ge=0)
    seeds: Annotated[list[Seed], Once] = Field(min_length=1)
    families: Annotated[list[Literal["few_shot", "transfer"]], Once] = Field(min_length=1)
    only: Annotated[list[str], Once] | None = Field(default=None, min_length=1)
    sources: dict[str, Title]
    stand_ins: dict[str, str]
    datasets: dict[Name, Dataset]
    source_networks: dict[Name, SourceNetwork]
    few_shot: dict[str, Any]
    transfer: dict[str, Any]
    methods: dict[Name, Method]
    experiments: dict[Name, Experiment]
    measure: Measure
    _settled: dict[Any, Any] = PrivateAttr(default_factory=dict)

    @property
    def run(self) -> dict[str, Experiment]:
        """The experiments that this scale runs: those of its `families`, or of them `only` some."""
        return {
            name: experiment
            for name, experiment in self.experiments.items()
            if experiment.family in self.families and (self.only is None or name in self.only)
        }

    @property
    def archived(self) -> dict[str, Dataset | SourceNetwork]:
        """What has archives, by name."""
        return {**self.datasets, **self.source_networks}

    @property
    def settled(self) -> dict[Any, Any]:
        """Settings of cells that `multistep.plan.layers` has merged and validated."""
        return self._settled

    def used(self, name: str) -> str:
        """The dataset or source network that this scale uses where params.yaml says `name`."""
        return self.stand_ins.get(name, name)
