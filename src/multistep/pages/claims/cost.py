"""Claims on time and memory: one method's relative to another's, from measurements."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from multistep import stats
from multistep.pages import claims
from multistep.pages.scales import Run
from multistep.pages.spec import Some, Wants
from multistep.plan.schema import Params
from multistep.settings import Once

UNITS = {"seconds": "time", "bytes": "memory"}  # what a record calls what they are of


class Spec(claims.Comparison):
    """Seconds or bytes of each of `of` over those of each of `to`, timed in turn in one job.

    `steps`: inner steps of a few-shot meta-iteration; what is timed of transfer has its own.
    """

    unit: ClassVar[str] = "×"
    quantity: Literal["seconds", "bytes"] = "seconds"
    steps: Annotated[list[int], Some, Once] = [8]

    def mistakes(self, params: Params | None = None) -> list[str]:
        found = super().mistakes(params)
        if any(one.elsewhere for one in self.compare):
            found.append("compare.elsewhere: one job times both; name its experiment in cells")
        return found

    def wants(self) -> Wants:
        return Wants(timed=[(p.experiment, p.dataset, m) for p in self.pairs() for _, m in p[2:]])

    def untried(self, params: Params) -> set[str]:
        few_shot = any(params.experiments[p.experiment].family == "few_shot" for p in self.pairs())
        return {f"{n} steps" for n in self.steps if few_shot and n not in params.measure.steps}

    def parts(self, scale: claims.Scale) -> Iterator[claims.Part]:
        for experiment, dataset, *both in self.pairs():
            methods = [method for _, method in both]
            title = scale.cell_title(experiment, dataset)
            of = scale.plan.params.experiments[experiment]
            for steps in self.steps if of.family == "few_shot" else [None]:
                first, second = (scale.method_title(method) for method in methods)
                at = f", {steps} steps" if steps else ""
                file, record = scale.measured(experiment, dataset)
                what = record.get("unit", {}).get(UNITS[self.quantity], self.quantity)
                name = f"{what} of {first} / {second}, {title}{at}"
                ours, theirs = (row_of(record, method, steps) for method in methods)
                if ours is None or theirs is None:
                    yield claims.Part(name, missing="not measured")
                else:
                    yield claims.Part(name, relative(ours, theirs, self.quantity), (file,))


def row_of(record: Run, method: str, steps: int | None) -> dict[str, Any] | None:
    """What was measured of a method (with so many inner steps), if it was."""
    rows = (row for row in record["rows"] if row["method"] == method)
    return next((row for row in rows if steps in (None, row.get("steps"))), None)


def relative(ours: dict[str, Any], theirs: dict[str, Any], quantity: str) -> stats.Estimate:
    """Ratio of two rows that were measured in turn; bytes are counted and don't vary."""
    if quantity == "bytes":
        return stats.Estimate(ours["bytes"] / theirs["bytes"], exact=True)
    return stats.log_ratio(ours["seconds"], theirs["seconds"], repeats(ours))


def repeats(row: dict[str, Any]) -> str:
    """What each of a row's seconds is of, by name."""
    return "rounds" if "steps" in row else "mini-batches"
