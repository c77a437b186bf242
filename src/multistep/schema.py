"""The shape of `params.yaml`: what is run and shown, around the settings of `multistep.settings`.

Jobs that train don't import this module, so that adding to it makes no cell stale. Nothing here
imports torch: it is read inside Snakemake.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from multistep.settings import Dataset, Measure, Model

PACKAGE = Path(__file__).parent


def algorithms() -> list[str]:
    """What `algorithm:` of a method can be: the modules of multistep.fewshot.methods."""
    return _modules("fewshot/methods", "def meta_gradient(")


def loaders() -> list[str]:
    """What `loader:` of a dataset can be: the modules of multistep.datasets with a `prepare`."""
    return _modules("datasets", "def prepare(")


def _modules(folder: str, definition: str) -> list[str]:
    """Modules that define something at their top; read as text, since importing costs seconds."""
    files = sorted((PACKAGE / folder).glob("*.py"))
    return [f.stem for f in files if f"\n{definition}" in f.read_text(encoding="utf-8")]


class Method(Model):
    title: str
    algorithm: str
    settings: dict[str, Any]


class Experiment(Model):
    family: Literal["few_shot"]
    datasets: list[str]
    methods: list[str]
    settings: dict[str, Any]
    seeds: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, min_length=1)


Number = list[float]  # [accuracy, 95% half-width] in percent, as printed


class Literature(Model):
    title: str
    source: str
    values: dict[str, Number]


class PaperNumbers(Model):
    source: str
    iterations: int
    episodes: int
    meta_batch: dict[str, int]
    float16_means: bool
    values: dict[str, dict[str, Number]]


class Table(Model):
    kind: Literal["accuracy"]
    title: str
    caption: str
    dataset: str
    columns: dict[str, str]
    methods: list[str]
    literature: dict[str, Literature] = Field(default={})
    paper: PaperNumbers | None = None
    cell_notes: dict[str, dict[str, str]] = Field(default={})
    notes: list[str] = Field(default=[])
    references: dict[str, str] = Field(default={})


class Figure(Model):
    kind: Literal["cost", "curves"]
    title: str
    caption: str
    dataset: str
    panels: dict[str, str]
    methods: list[str]


class Params(Model):
    scale: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    directory: str
    device: Literal["cuda", "cpu"]
    threads: int = Field(ge=1)
    checkpoint_seconds: float = Field(ge=0)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    sources: dict[str, str]
    stand_ins: dict[str, str]
    datasets: dict[str, Dataset]
    few_shot: dict[str, Any]
    methods: dict[str, Method]
    experiments: dict[str, Experiment]
    measure: Measure
    tables: dict[str, Table]
    figures: dict[str, Figure]

    def dataset(self, name: str) -> str:
        """The dataset that this scale uses where params.yaml says `name`."""
        return self.stand_ins.get(name, name)
