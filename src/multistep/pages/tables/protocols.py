"""Tables of what an accuracy owes to the protocol of the test, and to meta-training at all."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from multistep import stats
from multistep.files import UserError
from multistep.job.protocols import PROTOCOLS
from multistep.job.record import ADDS, HEAD, NEAREST, TRAINED, UNTRAINED, name_of
from multistep.job.results import otherwise
from multistep.pages import DataFrame, pd, query
from multistep.pages.context import Context
from multistep.pages.layout import Page, groups, joined, known, plus_minus, signed
from multistep.pages.spec import Dataset, FewShot, Methods, Ref, Wants
from multistep.pages.spec import Spec as AnySpec

SMALL = {"untrained": UNTRAINED, "head": HEAD, "adds": ADDS}


class Spec(AnySpec):
    """Accuracy of trained parameters where queries are classified together and where they aren't.

    In small print: the untrained network with the same inner loop, its head alone, and what
    meta-training adds, with the interval of the differences on the same episodes.
    """

    experiment: FewShot
    dataset: Dataset
    methods: Methods
    # protocol: heading
    columns: dict[Annotated[str, Ref("protocol", "protocols")], str] = Field(min_length=1)
    protocols: ClassVar[dict[str, str]] = PROTOCOLS
    references: dict[str, str] = {}

    def wants(self) -> Wants:
        return Wants(evaluated=[(self.experiment, self.dataset, m) for m in self.methods])


COLUMNS = " ".join(f"{name} {name}_half" for name in SMALL) + " episodes nearest"
"""ours: accuracy in percent with the 95% interval over test episodes of the mean of n seeds, and so
the others: of the untrained network, of its head alone, and the difference to the former; nearest:
of the nearest pixels, which only other episodes would change."""


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> DataFrame:
    """A cell per method and protocol, and the nearest pixels last."""
    found: list[dict[str, Any]] = []
    nearest: dict[str, dict[str, Any]] = {}
    wanted = spec.wants().evaluated
    for names, group in query.groups(spec, context, records, "evaluations", wanted):
        method = names[2]
        for record in group:
            if other := otherwise(record):
                raise UserError(
                    f"{name_of(record['cell'])}: evaluated with other settings than the cell's "
                    f"({other}); build the evaluation again"
                )
        for column, heading in spec.columns.items():
            about = {"column": column, "column_title": heading, "scale": context.scale}
            about |= {"data": context.titles([spec.dataset]), "n": str(len(group))}
            row = {"row": method, "row_title": context.methods.get(method, method)}
            pixels = _means(group, column, {"ours": NEAREST})["ours"]
            means = _means(group, column, {"ours": TRAINED, **SMALL})
            found.append(about | row | means | {"nearest": pixels})
            row = {"row": "nearest", "row_title": "Nearest pixels", "n": "1"}
            nearest.setdefault(column, about | row | _means(group[:1], column, {"ours": NEAREST}))
    return pd.DataFrame([*found, *nearest.values()])


def _means(group: Sequence[dict[str, Any]], column: str, of: Mapping[str, str]) -> dict[str, Any]:
    """Over the seeds of a cell: of each name the mean and the half-width of its interval."""
    found: dict[str, Any] = {}
    for name, what in of.items():
        episodes = [record["rows"][what][column]["episodes"] for record in group]
        mean = stats.over_episodes_and_seeds(episodes)
        found |= {name: mean.mean, f"{name}_half": mean.half_width, "episodes": mean.n}
    half = found.pop("ours_half")
    return found | {"ours_low": found["ours"] - half, "ours_high": found["ours"] + half}


def page(spec: Spec, context: Context, rows: DataFrame) -> Page:
    """A row per method with its floors below it."""

    def texts(c: Any) -> dict[str, str | None]:
        adds = f"{signed(c.adds)} ± {c.adds_half:.2f}" if known(c.adds) else None
        return {
            "": plus_minus(c.ours, c.ours_high - c.ours),
            UNTRAINED: plus_minus(c.untrained, c.untrained_half),
            HEAD: plus_minus(c.head, c.head_half),
            ADDS: adds,
        }

    trained = rows[rows.row != "nearest"]
    pixels = trained.groupby("column").nearest
    same = trained.episodes.nunique() == 1 and (pixels.max() - pixels.min()).max() < stats.ROUNDING
    others = "not the same for all rows; the nearest pixels on those of the first"
    n = trained.drop_duplicates("row").set_index("row_title").n
    fewer = "; ".join(f"{title}: {count:g}" for title, count in n.items() if count < n.max())
    absent = [context.methods.get(m, m) for m in spec.methods if m not in set(trained.row)]
    return Page.of(
        spec,
        context,
        [spec.dataset],
        training=f"Tested on {joined(sorted(trained.episodes))} episodes, "
        f"{'the same for all rows' if same else others}; seeds: n = {n.max():g}"
        + (f" ({fewer})." if fewer else "."),
        headings=tuple(spec.columns.values()),
        sections={"": groups(rows, texts)},
        notes=[f"Not tested: {', '.join(absent)}."] if absent else [],
    )
