"""Figure 4: accuracy and training time over the number of inner steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from multistep import stats
from multistep.pages import style, timing
from multistep.pages.context import Context
from multistep.pages.query import Result, device_name, group_measurements, group_results
from multistep.pages.spec import Dataset, Experiment, Method, Number, Ref, Wants
from multistep.pages.spec import Spec as AnySpec
from multistep.settings import Model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_EXACT, _ESTIMATED = "#0072B2", "#E69F00"  # from the palette of methods


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

    def wants(self) -> Wants:
        return Wants(
            [(bar.experiment, self.dataset, method) for method, bar in self.bars.items()],
            measured=[(self.measured, self.dataset)],
        )


@dataclass(frozen=True)
class Point:
    """One bar: a method's accuracy (%) and seconds per epoch, and what the paper prints of them."""

    method: str
    label: str
    estimate_of: str  # the method that this one estimates, if it does
    experiment: str
    accuracy: float | None = None  # mean over seeds of the test accuracy
    accuracy_sd: float | None = None  # sample standard deviation over seeds
    seeds: int = 0
    epochs: int | None = None
    seconds: float | None = None  # per epoch
    seconds_sd: float | None = None  # of an epoch, taking its mini-batches as independent
    batches: int = 0  # timed
    batch_size: int | None = None
    scheme: str = ""
    source_features: str = ""
    clock: str = ""
    paper_accuracy: float | None = None
    paper_accuracy_sd: float | None = None
    paper_seconds: float | None = None
    paper_seconds_sd: float | None = None
    device: str = ""
    source: str = ""
    scale: str = ""
    data: str = ""


def points(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> list[Point]:
    """All bars in drawing order, those without a result or measurement too; none without any."""
    groups = group_results(spec, context, records)
    measurement = group_measurements(spec, context, records).get((spec.measured, spec.dataset))
    times = timing.epoch_times(measurement, spec.bars) if measurement else {}
    if not groups and not times:
        return []
    return [
        _point(
            spec,
            context,
            method,
            groups.get((bar.experiment, spec.dataset, method), []),
            times.get(method),
        )
        for method, bar in spec.bars.items()
    ]


def draw(spec: Spec, context: Context, points: Sequence[Point]) -> Figure:
    """Two panels, accuracy and time; the paper's numbers as open marks, unless on a stand-in."""
    header = style.header(
        spec,
        context,
        [point.device for point in points if point.device],
        sources=[point.source for point in points if point.source],
    )
    with style.theme():
        if not points:
            figure, axes = style.panels(1, 2, header)
            style.empty(axes[0], "nothing run")
            return figure
        timed = [point for point in points if point.seconds is not None]
        run = [point for point in points if point.seeds]
        how = timing.how(timed).rpartition("; device")[0] if timed else "Times: not measured"
        header.append((f"{how}. ±: sd of an epoch.", "quiet"))
        epochs = " or ".join(str(n) for n in sorted({p.epochs for p in run if p.epochs}))
        if run:
            over = style.seeds(point.seeds for point in run)
            over = "one seed" if over == "1 seed" else f"mean ± sd over {over}"
            header.append((f"Accuracies: {over}, {epochs} epochs.", "quiet"))
        missing = [point.label for point in points if not point.seeds]
        if missing:
            header.append((f"Not run: {', '.join(missing).rstrip('.')}.", "quiet"))
        stand_in = context.is_stand_in(context.dataset(spec.dataset)) or any(
            context.is_stand_in(point.source) for point in points
        )
        differs = _differs(spec, context)
        if spec.paper and (stand_in or differs):
            why = "stand-in data" if stand_in else differs
            header.append((f"The paper's numbers are left out: {why}.", "quiet"))
        figure, axes = style.panels(1, 2, header)
        figure.subplots_adjust(left=0.06, right=0.985, wspace=0.14, bottom=0.14)
        accuracy, time = axes[0]
        marks = spec.paper is not None and not stand_in and not differs
        _panel(accuracy, points, "accuracy", "the paper" if marks else "")
        accuracy.set_title("test accuracy (%)")
        device = f"the paper, {spec.paper.device}" if spec.paper and marks else ""
        _panel(time, points, "seconds", device)
        time.set_title("seconds per epoch")
    return figure


def _differs(spec: Spec, context: Context) -> str:
    """The settings in which bars with a number of the paper aren't the paper's."""
    if spec.paper is None:
        return ""
    cells = [(spec.bars[m].experiment, spec.dataset, m) for m in spec.paper.accuracy]
    timed = [("measure", spec.measured, spec.dataset, m) for m in spec.paper.seconds]
    found = [context.differs(*names) for names in (*cells, *timed)]
    return "; ".join(dict.fromkeys(text for text in found if text))


def _panel(axes: Axes, points: Sequence[Point], quantity: str, marks: str) -> None:
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
        axes.annotate(text, (i, y), xytext=(0, 3), textcoords="offset points", ha="center", size=8)
        top = max(top, y)
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for colour, label in ((_EXACT, "exact"), (_ESTIMATED, "estimated")):
        handles.append(Patch(color=colour, label=label))
    if marks:
        known = [i for i, p in enumerate(points) if getattr(p, f"paper_{quantity}") is not None]
        theirs = np.array([getattr(points[i], f"paper_{quantity}") for i in known])
        sds = np.array([getattr(points[i], f"paper_{quantity}_sd") for i in known])
        if known:
            top = max(top, float((theirs + sds).max()))
            handles.append(
                axes.errorbar(
                    known,
                    theirs,
                    yerr=sds,
                    fmt="D",
                    color=style.INK,
                    markerfacecolor="white",
                    markersize=5,
                    elinewidth=1,
                    capsize=3,
                    label=marks,
                )
            )
    axes.set_ylim(0, 1.3 * top if top else 1)
    axes.set_xlim(-0.6, len(points) - 0.4)
    labels = [style.wrap(point.label, 8) for point in points]
    axes.set_xticks(range(len(points)), labels, size=8)
    axes.tick_params(axis="x", length=0)
    axes.legend(handles=handles, loc="upper left", ncols=3, fontsize=8)


def _point(
    spec: Spec,
    context: Context,
    method: str,
    results: list[Result],
    time: timing.EpochTime | None,
) -> Point:
    bar = spec.bars[method]
    paper_accuracy = spec.paper.accuracy.get(method) if spec.paper else None
    paper_seconds = spec.paper.seconds.get(method) if spec.paper else None
    mean, sd = (
        stats.over_seeds([float(r["metrics"]["test_accuracy"]) for r in results])
        if results
        else (None, None)
    )
    devices = [device_name(result["environment"]) for result in results]
    sources = [result["cell"]["settings"]["source"] for result in results]
    if time is not None:
        devices, sources = [*devices, time.device], [*sources, time.source]
    return Point(
        method=method,
        label=bar.label,
        estimate_of=bar.of or "",
        experiment=bar.experiment,
        accuracy=mean,
        accuracy_sd=sd,
        seeds=len(results),
        epochs=int(results[0]["metrics"]["epochs"]) if results else None,
        seconds=time.seconds if time else None,
        seconds_sd=time.seconds_sd if time else None,
        batches=time.batches if time else 0,
        batch_size=time.batch_size if time else None,
        scheme=time.scheme if time else "",
        source_features=time.source_features if time else "",
        clock=time.clock if time else "",
        paper_accuracy=paper_accuracy[0] if paper_accuracy else None,
        paper_accuracy_sd=paper_accuracy[1] if paper_accuracy else None,
        paper_seconds=paper_seconds[0] if paper_seconds else None,
        paper_seconds_sd=paper_seconds[1] if paper_seconds else None,
        device="; ".join(dict.fromkeys(devices)),
        source=sources[0] if sources else "",
        scale=context.scale,
        data=context.dataset_title(context.dataset(spec.dataset)),
    )
