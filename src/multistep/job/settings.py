"""What a measurement is given, typed, frozen."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from multistep.settings import Model


class Measure(Model):
    """Few-shot: inner steps, rounds, tasks. Transfer: timed mini-batches after a warm-up.

    `alone`: on a CPU no other job of the workflow runs beside a measurement.
    """

    steps: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    rounds: int = Field(ge=1)
    tasks: int | None = Field(ge=1)
    batches: int = Field(ge=1)
    alone: bool
