"""Figure 4: accuracy and training time over the number of inner steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np

from multistep import stats
from multistep.pages import style, timing
from multistep.pages.context import Context
from multistep.pages.query import Point, device_name, group_measurements, group_results
from multistep.pages.spec import Dataset, Experiment, Method, Number, Quotation, Ref, Wants
from multistep.pages.spec import Spec as AnySpec
from multistep.settings import Model

COLUMNS = (
    "method label estimate_of experiment accuracy accuracy_sd seeds epochs seconds seconds_sd "
    "batches batch_size scheme source_features clock paper_accuracy paper_accuracy_sd "
    "paper_seconds paper_seconds_sd device source scale data"
)
_EXACT, _ESTIMATED = "#0072B2", "#E69F00"  # from the palette of methods
_NOT_TIMED: dict[str, Any] = dict.fromkeys(("seconds", "seconds_sd", "batch_size"))
_NOT_TIMED |= dict.fromkeys(("scheme", "source_features", "clock"), "") | {"batches": 0}

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
        for quantity, values in (
            ("test_accuracy", paper.accuracy),
            ("epoch_seconds", paper.seconds),
        ):
            for method, (mean, sd) in values.items():
                experiment = self.bars[method].experiment
                yield Quotation("the paper", quantity, mean, sd, experiment, self.dataset, method)

    def wants(self) -> Wants:
        return Wants(
            [(bar.experiment, self.dataset, method) for method, bar in self.bars.items()],
            measured=[(self.measured, self.dataset)],
        )


def points(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> list[Point]:
    """All bars in drawing order, those without a result or measurement too; none without any."""
    groups = group_results(spec, context, records)
    measurement = group_measurements(spec, context, records).get((spec.measured, spec.dataset))
    times = timing.epoch_times(measurement, spec.bars)
    if not groups and not times:
        return []
    found = []
    for method, bar in spec.bars.items():
        results = groups.get((bar.experiment, spec.dataset, method), [])
        accuracies = [float(result["metrics"]["test_accuracy"]) for result in results]
        mean, sd = stats.over_seeds(accuracies) if accuracies else (None, None)
        time = times.get(method)
        origins = [
            (device_name(r["environment"]), r["cell"]["settings"]["source"]) for r in results
        ]
        if time is not None:
            origins.append((time.device, time.source))
        printed = {
            name: values.get(method, (None, None))
            for name, values in (
                ("accuracy", spec.paper.accuracy if spec.paper else {}),
                ("seconds", spec.paper.seconds if spec.paper else {}),
            )
        }
        values = _NOT_TIMED | (vars(time) if time else {})
        values |= {f"paper_{name}": value for name, (value, _) in printed.items()}
        values |= {f"paper_{name}_sd": spread for name, (_, spread) in printed.items()}
        values |= {
            "method": method,
            "label": bar.label,
            "estimate_of": bar.of or "",
            "experiment": bar.experiment,
            "accuracy": mean,
            "accuracy_sd": sd,
            "seeds": len(results),
            "epochs": int(results[0]["metrics"]["epochs"]) if results else None,
            "device": "; ".join(dict.fromkeys(device for device, _ in origins)),
            "source": origins[0][1] if origins else "",
            "scale": context.scale,
            "data": context.titles([spec.dataset]),
        }
        found.append(Point(**values))
    return found


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> style.Figure:
    """Two panels, accuracy and time; the paper's numbers as open marks, unless on a stand-in."""
    notes = []
    paper = spec.paper
    if points:
        timed = [point for point in points if point.seconds is not None]
        run = [point for point in points if point.seeds]
        how = timing.how(timed).rpartition("; device")[0] if timed else "Times: not measured"
        notes.append(f"{how}. ±: sd of an epoch.")
        if run:
            epochs = " or ".join(str(n) for n in sorted({p.epochs for p in run if p.epochs}))
            over = style.seeds(run)
            over = "one seed" if over == "1 seed" else f"mean ± sd over {over}"
            notes.append(f"Accuracies: {over}, {epochs} epochs.")
        missing = [point.label for point in points if not point.seeds]
        if missing:
            notes.append(f"Not run: {', '.join(missing).rstrip('.')}.")
        used = [context.dataset(spec.dataset), *(point.source for point in points)]
        if paper is not None:
            cells = [(spec.bars[m].experiment, spec.dataset, m) for m in paper.accuracy]
            timings = [("measure", spec.measured, spec.dataset, m) for m in paper.seconds]
            differ = filter(None, (context.differs(*names) for names in (*cells, *timings)))
            stand_in = any(map(context.is_stand_in, used))
            why = "stand-in data" if stand_in else "; ".join(dict.fromkeys(differ))
            if why:
                paper = None
                notes.append(f"The paper's numbers are left out: {why}.")
    with style.theme():
        figure, axes = style.panels(spec, context, points, notes)
        if not points:
            return figure
        figure.subplots_adjust(left=0.06, right=0.985, wspace=0.14, bottom=0.14)
        accuracy, time = axes[0]
        _panel(accuracy, points, "accuracy", "the paper" if paper else "")
        accuracy.set_title("test accuracy (%)")
        _panel(time, points, "seconds", f"the paper, {paper.device}" if paper else "")
        time.set_title("seconds per epoch")
    return figure


def _panel(axes: style.Axes, points: Sequence[Point], quantity: str, marks: str) -> None:
    """Bars of one quantity from zero with their values; `marks` is the paper's legend, if drawn."""
    top = 0.0
    for i, point in enumerate(points):
        value, sd = getattr(point, quantity), getattr(point, f"{quantity}_sd") or 0.0
        if value is None:
            continue
        colour = _ESTIMATED if point.estimate_of else _EXACT
        axes.bar(i, value, 0.72, color=colour)
        if sd:
            axes.errorbar(i, value, yerr=sd, fmt="none", ecolor=style.INK, elinewidth=1)
        text = f"{value:.2f}" if quantity == "accuracy" else timing.text(value)
        y = value + sd
        if marks and (theirs := getattr(point, f"paper_{quantity}")) is not None:
            reach = theirs + getattr(point, f"paper_{quantity}_sd")
            y = 1.02 * reach if y < 1.02 * reach < 1.15 * y else y  # the text above the mark
        style.above(axes, i, y, text)
        top = max(top, y)
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color=_EXACT, label="exact")]
    handles.append(Patch(color=_ESTIMATED, label="estimated"))
    known = [i for i, p in enumerate(points) if getattr(p, f"paper_{quantity}") is not None]
    if marks and known:
        theirs = np.array([getattr(points[i], f"paper_{quantity}") for i in known])
        sds = np.array([getattr(points[i], f"paper_{quantity}_sd") for i in known])
        top = max(top, float((theirs + sds).max()))
        drawn: dict[str, Any] = {
            "fmt": "D",
            "color": style.INK,
            "markerfacecolor": "white",
            "markersize": 5,
        }
        drawn |= {"elinewidth": 1, "capsize": 3, "label": marks}
        handles.append(axes.errorbar(known, theirs, yerr=sds, **drawn))
    axes.set_ylim(0, 1.3 * top if top else 1)
    axes.set_xlim(-0.6, len(points) - 0.4)
    labels = [style.wrap(point.label, 8) for point in points]
    axes.set_xticks(range(len(points)), labels, size=8)
    axes.tick_params(axis="x", length=0)
    axes.legend(handles=handles, loc="upper left", ncols=3, fontsize=8)
