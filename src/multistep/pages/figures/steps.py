"""Figure 4: accuracy and training time over the number of inner steps."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from multistep.pages import measured, query, style
from multistep.pages.context import Context
from multistep.pages.figures import cells, seeds
from multistep.pages.spec import Dataset, Experiment, Method, Number, Quotation, Ref, Wants
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
    experiment: Experiment  # has the cells of this bar
    of: OneBar | None = None  # the method that this one estimates: drawn in the second colour


class StepsPaper(Model):
    device: str
    accuracy: dict[OneBar, Number] = {}
    seconds: dict[OneBar, Number] = {}


class Spec(AnySpec):
    """Test accuracy at the epoch with the best validation accuracy, and training time per epoch."""

    dataset: Dataset
    bars: dict[Method, Bar]  # method: bar
    measured: Experiment  # the experiment whose measurement times all of them
    paper: StepsPaper | None = None

    def quotations(self) -> Iterator[Quotation]:
        paper = self.paper or StepsPaper(device="")
        printed = {"test_accuracy": paper.accuracy, "epoch_seconds": paper.seconds}
        for quantity, values in printed.items():
            for method, (mean, sd) in values.items():
                experiment = self.bars[method].experiment
                yield Quotation("the paper", quantity, mean, sd, experiment, self.dataset, method)

    def wants(self) -> Wants:
        return Wants(
            [(bar.experiment, self.dataset, method) for method, bar in self.bars.items()],
            measured=[(self.measured, self.dataset)],
        )


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> style.DataFrame:
    """All bars in drawing order, those without a result or measurement too."""
    import pandas as pd

    data = query.data(spec, context, records)
    paper = spec.paper or StepsPaper(device="")
    columns = ["method", "label", "experiment", "estimate_of"]
    columns += [f"paper_{name}{end}" for name in ("accuracy", "seconds") for end in ("", "_sd")]
    printed = [
        [values.get(m, (None, None)) for values in (paper.accuracy, paper.seconds)]
        for m in spec.bars
    ]
    bars = pd.DataFrame(
        [
            (method, bar.label, bar.experiment, bar.of or "", *accuracy, *seconds)
            for (method, bar), (accuracy, seconds) in zip(spec.bars.items(), printed, strict=True)
        ],
        columns=columns,
    )
    metrics = ["metrics.test_accuracy", "metrics.epochs"]
    runs = data.runs[data.runs.record == "result"]
    runs = runs.reindex(columns=dict.fromkeys([*runs, *metrics])).groupby(["experiment", "method"])
    run = runs.agg(
        accuracy=(metrics[0], "mean"),
        accuracy_sd=(metrics[0], "std"),
        seeds=("seed", "size"),
        epochs=(metrics[1], "first"),
    )
    run = cells(data)[["experiment", "method", "device", "source"]].merge(run.reset_index())
    times = query.epoch_times(data).drop(columns=["experiment", "dataset", "scale", "data"])
    found = bars.merge(run, "left").merge(times, "left", on="method", suffixes=("", "_timed"))
    origins = [
        dict.fromkeys(filter(pd.notna, pair))
        for pair in zip(found.device, found.device_timed, strict=True)
    ]
    return found.fillna({"seeds": 0, "batches": 0}).assign(
        device=["; ".join(names) for names in origins],
        source=found.source.fillna(found.source_timed).fillna(""),
        scale=context.scale,
        data=context.titles([spec.dataset]),
    )


def notes(spec: Spec, context: Context, rows: style.DataFrame) -> list[str]:
    """How bars were timed and averaged, what was not run, why the paper's marks are missing."""
    how = measured.how(rows[rows.seconds.notna()]).replace("Not measured", "Times: not measured")
    said = [f"{how} ±: sd of an epoch."]
    run = rows[rows.seeds > 0].astype({"seeds": int})
    if len(run):
        epochs = " or ".join(f"{n:g}" for n in sorted(run.epochs.unique()))
        over = "one seed" if seeds(run) == "1 seed" else f"mean ± sd over {seeds(run)}"
        said.append(f"Accuracies: {over}, {epochs} epochs.")
    if lacks := ", ".join(rows.label[rows.seeds == 0]):
        said.append(f"Not run: {lacks.rstrip('.')}.")
    why = _left_out(spec, context, rows) if spec.paper else ""
    return [*said, f"The paper's numbers are left out: {why}." if why else ""]


def _left_out(spec: Spec, context: Context, rows: style.DataFrame) -> str:
    """Why the paper's numbers are not drawn; empty if they are."""
    if spec.paper is None or any(
        map(context.is_stand_in, [context.dataset(spec.dataset), *rows.source])
    ):
        return "stand-in data"
    cells = [(spec.bars[method].experiment, spec.dataset, method) for method in spec.paper.accuracy]
    timed = [("measure", spec.measured, spec.dataset, method) for method in spec.paper.seconds]
    differ = [context.differs(*names) for names in (*cells, *timed)]
    return "; ".join(dict.fromkeys(filter(None, differ)))


def draw(spec: Spec, context: Context, rows: style.DataFrame) -> style.Figure:
    """Two panels, accuracy and time; the paper's numbers as open marks, unless on a stand-in."""
    figure, axes = style.panels(rows, (1, 2), height=2.4)
    if not rows.empty:
        marks = spec.paper and not _left_out(spec, context, rows)
        for panel, quantity, device in zip(
            axes[0],
            ("accuracy", "seconds"),
            ("", f", {spec.paper.device}" if spec.paper else ""),
            strict=True,
        ):
            _panel(panel, rows, quantity, f"the paper{device}" if marks else "")
        axes[0][0].set_ylabel("test accuracy (%)")
        axes[0][1].set_ylabel("seconds per epoch")
    return figure


def _panel(axes: style.Axes, rows: style.DataFrame, quantity: str, marks: str) -> None:
    """Bars of one quantity from zero with their values; `marks` is the paper's legend, if drawn."""
    import seaborn as sns

    kinds = rows.estimate_of.map(lambda of: "estimated" if of else "exact")
    drawn = {"hue": kinds, "hue_order": [*_INKS], "palette": _INKS, "dodge": False, **style.BARS}
    sns.barplot(rows, x="label", y=quantity, width=0.75, ax=axes, **drawn)
    theirs, spread = (
        rows[f"paper_{quantity}"].astype(float),
        rows[f"paper_{quantity}_sd"].astype(float),
    )
    reach = 1.02 * (theirs + spread) * (1 if marks else float("nan"))
    for x, (value, sd, top) in enumerate(
        zip(rows[quantity], rows[f"{quantity}_sd"].fillna(0), reach, strict=True)
    ):
        if value == value:
            text = f"{value:.2f}" if quantity == "accuracy" else measured.seconds(value)
            over = top if top < 1.15 * (value + sd) else 0  # the text above the mark
            style.above(axes, x, value, sd, text, over=over)
    if reach.notna().any():
        mark: dict[str, Any] = {
            "markerfacecolor": "white",
            "markersize": 4,
            "elinewidth": 0.8,
            "capsize": 2,
        }
        axes.errorbar(
            range(len(rows)), theirs, spread, fmt="D", color=style.INK, label=marks, **mark
        )
    axes.legend(loc="upper left", ncols=3, columnspacing=1)
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])
    axes.set_xticks(range(len(rows)), [textwrap.fill(label, 8) for label in rows.label])
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("")
