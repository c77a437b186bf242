"""The table of training times (Table 1): seconds per epoch, hours of all epochs, ratio."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import Field

from multistep.pages import DataFrame, measured, pd, query
from multistep.pages.context import Context
from multistep.pages.layout import Page, groups, known, plus_minus, printed, signed
from multistep.pages.spec import (
    Dataset,
    Methods,
    Number,
    Quotation,
    Reference,
    ShownMethod,
    Transfer,
    Wants,
)
from multistep.pages.spec import Spec as AnySpec
from multistep.pages.tables import compared, numbers, otherwise
from multistep.settings import Model


class EpochTimePaper(Model):
    source: Reference
    device: str
    seconds: dict[ShownMethod, Number]  # method: [seconds per epoch, sd over models]
    hours: dict[ShownMethod, float]  # of `epochs` epochs, as printed
    ratio: dict[ShownMethod, float]


class Spec(AnySpec):
    """Seconds per epoch of training alone, relative to the first method.

    From single mini-batches that were timed with all methods interleaved.
    """

    dataset: Dataset
    experiment: Transfer
    methods: Methods
    epochs: int = Field(ge=1)  # whose hours are shown
    paper: EpochTimePaper | None = None
    references: dict[str, str] = {}

    def quotations(self) -> Iterator[Quotation]:
        if (paper := self.paper) is not None:
            of = (self.experiment, self.dataset)
            for method, (mean, sd) in paper.seconds.items():
                yield Quotation(paper.source, "epoch_seconds", mean, sd, *of, method)
            for quantity, values in (("hours", paper.hours), ("ratio", paper.ratio)):
                for method, value in values.items():
                    yield Quotation(paper.source, quantity, value, None, *of, method)

    def wants(self) -> Wants:
        return Wants(timed=[(self.experiment, self.dataset, m) for m in self.methods])


COLUMNS = (
    "epoch_sd batches iterations batch_size scheme source_features clock bytes memory device source"
)
"""Seconds of an epoch, hours of the paper's epochs, or the ratio to the first method; ours_low and
ours_high: 95% interval over the n mini-batches that were timed (to first order of the ratio).

epoch_sd: of an epoch, taking its mini-batches as independent. batches: timed; iterations:
mini-batches of an epoch; batch_size, scheme, source_features: settings; clock, memory: what seconds
and bytes are of; source: the source network.
"""


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> DataFrame:
    """Three cells per method; without a measurement they have the printed numbers alone."""
    times = query.epoch_times(query.data(spec, context, records)).set_index("method")
    times = times.reindex(spec.methods)
    times["n"], hours, first = times.batches, spec.epochs / 3600, times.iloc[0]
    relative = (times.seconds_half_width / times.seconds) ** 2
    width = (relative + (first.seconds_half_width / first.seconds) ** 2) ** 0.5
    width.iloc[0] = None  # one by definition
    ratio = times.seconds / first.seconds
    found = []
    for column, title, ours, half_width, sd in (
        ("seconds", "Seconds per epoch", times.seconds, times.seconds_half_width, times.seconds_sd),
        ("hours", f"Hours of {spec.epochs} epochs", *(
            hours * x for x in (times.seconds, times.seconds_half_width)), None),
        ("ratio", "Ratio", ratio, ratio * width, None),
    ):  # fmt: skip
        ends = {"ours_low": ours - half_width, "ours_high": ours + half_width, "epoch_sd": sd}
        cells = times.assign(column=column, column_title=title, ours=ours, **ends)
        found.append(cells.rename_axis("row").reset_index())
    cells = pd.concat(found).sort_values(
        "row", key=lambda m: m.map(spec.methods.index), kind="stable"
    )
    cells["row_title"] = cells.row.map(lambda method: context.methods.get(method, method))
    cells = cells.assign(scale=context.scale, data=context.titles([spec.dataset]))
    if (paper := spec.paper) is None:
        return cells
    theirs = {"seconds": paper.seconds}
    theirs |= {"hours": {method: [hours] for method, hours in paper.hours.items()}}
    theirs |= {"ratio": {method: [ratio] for method, ratio in paper.ratio.items()}}
    values = {m: {c: of[m] for c, of in theirs.items() if m in of} for m in spec.methods}
    of_first = context.differs("measure", spec.experiment, spec.dataset, spec.methods[0])

    def differs(cell: Any) -> str:
        text = context.differs("measure", spec.experiment, spec.dataset, cell.row)
        return "; ".join(dict.fromkeys(filter(None, (text, of_first))))

    def gap(cell: Any) -> dict[str, Any]:
        if (cell.scheme, cell.source_features) != ("replay", "step"):
            return {"note": "Not compared: the paper's was computed otherwise."}
        return {"gap": cell.ours - cell.paper}

    # The ratio says something on any device, seconds do not.
    cells = cells.merge(numbers(values), "left")
    alike = (cells.column == "ratio") & (cells.row != spec.methods[0])
    judged = compared(
        cells[alike], lambda c: context.stand_in([spec.dataset], [c.source]), differs, gap
    )
    return pd.concat([cells[~alike], judged]).sort_index()


def page(spec: Spec, context: Context, rows: DataFrame) -> Page:
    """One row per method as in the paper, with the paper's numbers below ours."""

    def texts(c: Any) -> dict[str, str | None]:
        seconds = c.column == "seconds"
        ours = measured.seconds(c.ours, c.epoch_sd) if seconds and known(c.ours) else None
        theirs = f"{c.paper:g}" if c.column == "hours" and known(c.paper) else None
        fewest = 1 if seconds else 2
        return {
            "": ours or plus_minus(c.ours, None),
            "mini-batches": (f"n = {c.n:g}" if c.n else None) if seconds else "",
            "paper": theirs or printed(c.paper, c.paper_spread, fewest),
            "gap": signed(c.gap),
        }

    device = f" The paper: a {spec.paper.device}." if spec.paper else ""
    timed = rows[(rows.column == "seconds") & (rows.n > 0)]
    return Page.of(
        spec,
        context,
        [spec.dataset],
        [source for source in timed.source if source],
        training=measured.how(timed) + device,
        headings=list(dict.fromkeys(rows.column_title)),
        sections={"": groups(rows, texts)},
        notes=(*_legend(spec, rows), *otherwise(rows)),
    )


def _legend(spec: Spec, rows: DataFrame) -> Iterator[str]:
    if rows.ours.notna().any():
        yield (
            "Seconds per epoch ± standard deviation of an epoch, from that of single mini-batches "
            "as if they were independent. Ratio: to the first row."
        )
    if spec.paper is not None:
        yield (
            "Paper: as printed, ± standard deviation over three models. Seconds and hours depend "
            "on the device, so only the ratio has a gap (ours − printed)."
        )
