"""Claims on hours saved by a training, on the device that they name."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from multistep import stats
from multistep.pages import claims
from multistep.pages.claims import cost
from multistep.pages.frame import device_name
from multistep.pages.spec import TransferCells


class OfEpochs(claims.Compared):
    cells: TransferCells


class Spec(cost.Spec):
    """Hours that `epochs` of `of` take less than those of `to`, from single mini-batches."""

    unit: ClassVar[str] = " h"
    compare: Sequence[OfEpochs] = Field(min_length=1)
    epochs: int
    device: str

    def parts(self, scale: claims.Scale) -> Iterator[claims.Part]:
        for experiment, dataset, *both in self.pairs():
            methods = [method for _, method in both]
            first, second = (scale.method_title(method) for method in methods)
            name = f"hours of {second} − {first}, {scale.cell_title(experiment, dataset)}"
            file, record = scale.measured(experiment, dataset)
            rows = [cost.row_of(record, method, None) for method in methods]
            if None in rows:
                yield claims.Part(name, missing="not measured")
                continue
            if self.device not in (device := device_name(record["environment"])):
                why = f"timed on {device}; the claim is about a {self.device}"
                yield claims.Part(name, missing=why)
                continue
            hours = record["iterations_per_epoch"] * self.epochs / 3600
            saved = [
                (b - a) * hours
                for a, b in zip(*(row["seconds"] for row in rows if row), strict=True)
            ]
            yield claims.Part(name, stats.sampled(saved, "mini-batches"), (file,))
