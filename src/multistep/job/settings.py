"""What a measurement is given, typed, frozen."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from multistep.settings import Model, Once


class Timed(Model):
    """A method of a measurement, with the settings of its cells."""

    algorithm: str
    settings: dict[str, Any]


class Measure(Model):
    """Few-shot: inner steps, rounds, tasks. Transfer: timed mini-batches after a warm-up.

    `alone`: on a CPU no other job of the workflow runs beside a measurement.
    """

    steps: Annotated[list[Annotated[int, Field(ge=1)]], Once] = Field(min_length=1)
    rounds: int = Field(ge=1)
    tasks: int | None = Field(ge=1)
    batches: int = Field(ge=1)
    alone: bool


class Definition(Model):
    """A measurement as the plan has it: all methods of an experiment on one dataset, which was
    prepared with `data`.
    """

    scale: str
    family: Literal["few_shot", "transfer"]
    experiment: str
    dataset: str
    data: dict[str, Any]
    methods: dict[str, Timed]
    measure: Measure
