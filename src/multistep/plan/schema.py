"""The shape of `params.yaml`: what is run, around the settings of each family.

Jobs that train don't import this module, so that adding to it makes no cell stale. Nothing here
imports torch: it is read inside Snakemake.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr

from multistep.data.settings import Dataset
from multistep.job.settings import Measure
from multistep.settings import Model
from multistep.transfer.source_settings import SourceNetwork


class Method(Model):
    title: str
    algorithm: str
    settings: dict[str, Any]


class Measured(Model):
    """What the measurements of an experiment time, where that is not just its own cells."""

    datasets: list[str]
    methods: list[str]


class Choose(Model):
    """A setting chosen by validation, for each dataset and method: see `multistep.plan.choose`.

    The candidates are cells with one of `values` each, `seeds`, and `settings` over their own.
    """

    setting: str
    values: list[float] = Field(min_length=1)
    methods: list[str]
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    settings: dict[str, Any]


class Experiment(Model):
    """`overrides`: settings of single methods in this experiment, over all others."""

    family: Literal["few_shot", "transfer"]
    datasets: list[str]
    methods: list[str]
    settings: dict[str, Any]
    overrides: dict[str, dict[str, Any]] = {}
    choose: Choose | None = None
    seeds: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, min_length=1)
    measured: Measured | None = None

    def choice(self, method: str) -> Choose | None:
        """What validation chooses for a method, if anything."""
        return self.choose if self.choose and method in self.choose.methods else None


class Params(Model):
    scale: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    directory: str
    device: Literal["cuda", "cpu"]
    threads: int = Field(ge=1)
    checkpoint_seconds: float = Field(ge=0)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    families: list[Literal["few_shot", "transfer"]]
    sources: dict[str, str]
    stand_ins: dict[str, str]
    datasets: dict[str, Dataset]
    source_networks: dict[str, SourceNetwork]
    few_shot: dict[str, Any]
    transfer: dict[str, Any]
    methods: dict[str, Method]
    experiments: dict[str, Experiment]
    measure: Measure
    _settled: dict[Any, Any] = PrivateAttr(default_factory=dict)

    @property
    def settled(self) -> dict[Any, Any]:
        """Settings of cells that `multistep.plan.layers` has merged and validated."""
        return self._settled

    def dataset(self, name: str) -> str:
        """The dataset that this scale uses where params.yaml says `name`."""
        return self.stand_ins.get(name, name)

    def source_network(self, name: str) -> str:
        """The same for source networks."""
        return self.stand_ins.get(name, name)
