"""What a table or figure is given: its entry in params.yaml and the names around it, checked.

A spec never holds a result, only which cells to look up and the printed numbers to set beside them.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from multistep.files import UserError
from multistep.params import table_mistakes
from multistep.schema import Figure, Table


class Context(BaseModel):
    """The names around a spec, as params.yaml has them: one scale, its titles and stand-ins."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: str
    datasets: dict[str, str]  # name -> title
    methods: dict[str, str]  # name -> title; the order gives each method its colour
    stand_ins: dict[str, str] = {}  # dataset -> the dataset that this scale has in its place

    def dataset(self, name: str) -> str:
        """The dataset that this scale uses where a spec says `name`."""
        return self.stand_ins.get(name, name)

    def dataset_title(self, dataset: str) -> str:
        """The name of a dataset for readers."""
        return self.datasets.get(dataset, dataset)

    def is_stand_in(self, dataset: str) -> bool:
        """Whether a dataset of this scale only stands in for another."""
        return dataset in self.stand_ins.values()

    def provenance(self, dataset: str) -> str:
        """The line that every table and figure carries: scale and data, and what they are not."""
        line = f"scale: {self.scale}; data: {self.dataset_title(dataset)}"
        faithful = self.scale == "paper" and not self.is_stand_in(dataset)
        return line if faithful else f"{line}; this is not a reproduction of the paper"


def table_spec(name: str, value: Any) -> Table:
    """An entry of `tables:`; its printed numbers belong to its columns, methods and references."""
    spec = parse(Table, f"tables.{name}", value)
    mistakes = table_mistakes(f"tables.{name}", spec)
    if mistakes:
        raise UserError("; ".join(mistakes) + " (see params.yaml)")
    return spec


def figure_spec(name: str, value: Any) -> Figure:
    """An entry of `figures:`."""
    return parse(Figure, f"figures.{name}", value)


Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], where: str, value: Any) -> Model:
    """`value` as `model`, or a UserError with the path to each key that is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = [
            f"{'.'.join([where, *map(str, problem['loc'])])}: {problem['msg']}"
            for problem in error.errors()
        ]
        raise UserError("; ".join(problems) + " (see params.yaml)") from None
