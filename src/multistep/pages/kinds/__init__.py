"""Pages: what each kind of table and figure says in params.yaml, and which results it shows.

A page names cells, measurements and prepared datasets (`wants`); it never holds a result. Nothing
here imports torch or matplotlib: it is read inside Snakemake.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from multistep.pages.kinds.common import Entry, Names, Wants
from multistep.pages.kinds.figures import (
    CostFigure,
    CurvesFigure,
    DriftFigure,
    EpochTimeFigure,
    MetaGradientFigure,
    StepsFigure,
    TransferCurvesFigure,
    WhereFigure,
)
from multistep.pages.kinds.tables import (
    AccuracyTable,
    BenchmarkTable,
    EpochTimeTable,
    SplitsTable,
    TransferTable,
)

__all__ = ["Entry", "Figure", "Names", "Table", "Wants"]

Table = Annotated[
    AccuracyTable | BenchmarkTable | TransferTable | EpochTimeTable | SplitsTable,
    Field(discriminator="kind"),
]
Figure = Annotated[
    CostFigure
    | CurvesFigure
    | DriftFigure
    | EpochTimeFigure
    | StepsFigure
    | WhereFigure
    | MetaGradientFigure
    | TransferCurvesFigure,
    Field(discriminator="kind"),
]
