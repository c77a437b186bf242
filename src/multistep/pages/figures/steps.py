"""Figure 4: accuracy and training time over the number of inner steps."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from multistep.pages import DataFrame, measured, pd, query, sns, style
from multistep.pages.context import Context
from multistep.pages.figures import cells, seeds
from multistep.pages.spec import Dataset, Method, Number, Quotation, Ref, Transfer, Wants
from multistep.pages.spec import Spec as AnySpec
from multistep.settings import Model

COLUMNS = (
    "method label estimate_of experiment accuracy accuracy_sd seeds epochs seconds seconds_sd "
    "batches batch_size scheme source_features clock paper_accuracy paper_accuracy_sd "
    "paper_seconds paper_seconds_sd device source scale data"
)
_INKS = {"exact": style.BLUE, "estimated": style.ORANGE}

OneBar = Annotated[str, Ref("bar", "bars")]


class Bar(Model):
    label: str
    experiment: Transfer  # has the cells of this bar
    of: OneBar | None = None  # the method that this one estimates: drawn in the second colour


class StepsPaper(Model):
    device: str
    accuracy: dict[OneBar, Number] = {}
    seconds: dict[OneBar, Number] = {}


class Spec(AnySpec):
    """Test accuracy at the epoch with the best validation accuracy, and training time per epoch."""

    dataset: Dataset
    bars: dict[Method, Bar]  # method: bar
    measured: Transfer  # the experiment whose measurement times all of them
    paper: StepsPaper = StepsPaper(device="")

    def quotations(self) -> Iterator[Quotation]:
        printed = {"test_accuracy": self.paper.accuracy, "epoch_seconds": self.paper.seconds}
        for quantity, values in printed.items():
            for method, (mean, sd) in values.items():
                experiment = self.bars[method].experiment
                yield Quotation("the paper", quantity, mean, sd, experiment, self.dataset, method)

    def wants(self) -> Wants:
        return Wants(
            [(bar.experiment, self.dataset, method) for method, bar in self.bars.items()],
            timed=[(self.measured, self.dataset, method) for method in self.bars],
        )


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> DataFrame:
    """All bars in drawing order, those without a result or measurement too; the paper's numbers
    beside those that can be compared with them.
    """
    data = query.data(spec, context, records)
    bars = pd.DataFrame(
        (method, bar.label, bar.experiment, bar.of or "", *_printed(spec, method))
        for method, bar in spec.bars.items()
    )
    bars.columns = ["method", "label", "experiment", "estimate_of", *_PRINTED]
    accuracy, epochs = "metrics.test_accuracy", "metrics.epochs"
    runs = data.runs[data.runs.record == "result"]
    runs = runs.reindex(columns=dict.fromkeys([*runs, accuracy, epochs]))
    run = runs.groupby(["experiment", "method"], as_index=False).agg(
        accuracy=(accuracy, "mean"),
        accuracy_sd=(accuracy, "std"),
        seeds=("seed", "size"),
        epochs=(epochs, "first"),
    )
    run = run.merge(cells(data)[["experiment", "method", "device", "source"]])
    times = query.epoch_times(data).drop(columns=["experiment", "dataset", "scale", "data"])
    found = bars.merge(run, "left").merge(times, "left", on="method", suffixes=("", "_timed"))
    devices = found[["device", "device_timed"]].apply(
        lambda both: "; ".join(dict.fromkeys(both.dropna())), axis=1
    )
    source = found.source.fillna(found.source_timed).fillna("")
    where = {"scale": context.scale, "data": context.titles([spec.dataset])}
    found = found.fillna({"seeds": 0, "batches": 0})
    found = found.assign(device=devices, source=source, **where)
    if _left_out(spec, context, found):
        found = found.assign(**dict.fromkeys(_PRINTED, float("nan")))
    return found


_PRINTED = ["paper_accuracy", "paper_accuracy_sd", "paper_seconds", "paper_seconds_sd"]


def _printed(spec: Spec, method: str) -> list[float]:
    both = [of.get(method, [float("nan")] * 2) for of in (spec.paper.accuracy, spec.paper.seconds)]
    return [number for value in both for number in value]


def notes(spec: Spec, context: Context, rows: DataFrame) -> list[str]:
    """How bars were timed and averaged, what was not run, why the paper's marks are missing."""
    timed = rows[rows.seconds.notna()]
    how = measured.how(timed).rpartition("; device")[0]
    run = rows[rows.seeds > 0].astype({"seeds": int})
    labels = {method: bar.label for method, bar in spec.bars.items()}
    accuracies = ""
    if len(run):  # which may come after what is timed
        over = "one seed" if set(run.seeds) == {1} else f"mean ± sd over {seeds(run, labels)}"
        epochs = " or ".join(f"{n:g}" for n in sorted(run.epochs.unique()))
        accuracies = f"Accuracies: {over}, {epochs} epochs."
    lacks = ", ".join(rows.label[rows.seeds == 0]).rstrip(".")
    untimed = ", ".join(rows.label[rows.seconds.isna()]).rstrip(".") if len(timed) else ""
    why = _left_out(spec, context, rows)
    return [
        f"{how}. ±: sd of an epoch." if how else "Times: not measured.",
        accuracies,
        f"Not run: {lacks}." if lacks else "",
        f"Not measured: {untimed}." if untimed else "",
        f"The paper's numbers are left out: {why}." if why else "",
    ]


def _left_out(spec: Spec, context: Context, rows: DataFrame) -> str:
    """Why the paper's numbers are left out; empty if they aren't, or if there are none."""
    paper = spec.paper
    names = [(spec.bars[method].experiment, spec.dataset, method) for method in paper.accuracy]
    timed = [("measure", spec.measured, spec.dataset, method) for method in paper.seconds]
    if context.stand_in([spec.dataset], rows.source) and (names or timed):
        return "stand-in data"
    return "; ".join(dict.fromkeys(filter(None, (context.differs(*n) for n in (*names, *timed)))))


def draw(spec: Spec, context: Context, rows: DataFrame) -> style.Figure:
    """Two panels, accuracy and time; the paper's numbers as open marks."""
    figure, axes = style.panels(rows, (1, 2), height=2.4)
    if not rows.empty:
        _panel(axes[0][0], rows, "accuracy", "the paper")
        _panel(axes[0][1], rows, "seconds", f"the paper, {spec.paper.device}")
        axes[0][0].set_ylabel("test accuracy (%)")
        axes[0][1].set_ylabel("seconds per epoch")
    return figure


def _panel(axes: style.Axes, rows: DataFrame, quantity: str, marks: str) -> None:
    """Bars of one quantity from zero with their values; `marks`: the paper's in the legend."""
    kinds = rows.estimate_of.map(lambda of: "estimated" if of else "exact")
    drawn = {"hue": kinds, "hue_order": [*_INKS], "palette": _INKS, "dodge": False, **style.BARS}
    sns.barplot(rows, x="label", y=quantity, width=0.75, ax=axes, **drawn)
    theirs, spread = (rows[f"paper_{quantity}{end}"].astype(float) for end in ("", "_sd"))
    numbers = (rows[quantity], rows[f"{quantity}_sd"].fillna(0), 1.02 * (theirs + spread))
    for x, (value, sd, top) in enumerate(zip(*numbers, strict=True)):
        if value == value:
            text = f"{value:.2f}" if quantity == "accuracy" else measured.seconds(value)
            over = top if top < 1.15 * (value + sd) else 0  # the text above the mark
            style.above(axes, x, value, sd, text, over=over)
    if theirs.notna().any():
        mark: dict[str, Any] = {"fmt": "D", "color": style.INK, "markerfacecolor": "white"}
        mark |= {"markersize": 4, "elinewidth": 0.8, "capsize": 2, "label": marks}
        axes.errorbar(range(len(rows)), theirs, spread, **mark)
    axes.legend(loc="upper left", ncols=3, columnspacing=1)
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])
    axes.set_xlim(-0.6, len(rows) - 0.4)  # room for bars without a value, too
    axes.set_xticks(range(len(rows)), [textwrap.fill(label, 8) for label in rows.label])
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("")
