"""The kinds of figures: what each says in params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from multistep.pages.kinds.common import Entry, Names, Number, Wants
from multistep.settings import Model


class FewShotFigure(Entry):
    """What the few-shot figures share: a row of panels per experiment, a line per method."""

    dataset: str
    panels: dict[str, str]  # experiment: heading
    methods: list[str]

    def names(self) -> list[Names]:
        return [
            Names("dataset", [self.dataset], "dataset"),
            Names("methods", self.methods, "method"),
            Names("panels", self.panels, "experiment"),
        ]


class CostFigure(FewShotFigure):
    """`remarks`: what the inner steps of a method are, shown where it is drawn."""

    kind: Literal["cost"]
    remarks: dict[str, str] = {}

    def names(self) -> list[Names]:
        return [*super().names(), Names("remarks", self.remarks, "method", self.methods)]

    def wants(self) -> Wants:
        return Wants(measured=[(experiment, self.dataset) for experiment in self.panels])


class CurvesFigure(FewShotFigure):
    kind: Literal["curves"]

    def wants(self) -> Wants:
        return Wants([(e, self.dataset, m) for e in self.panels for m in self.methods])


class OneExperiment(Entry):
    """What the figures of one transfer experiment on one dataset share."""

    dataset: str
    experiment: str
    methods: list[str] = Field(min_length=1)

    def wants(self) -> Wants:
        return Wants([(self.experiment, self.dataset, method) for method in self.methods])

    def names(self) -> list[Names]:
        return [
            Names("dataset", [self.dataset], "dataset"),
            Names("experiment", [self.experiment], "experiment"),
            Names("methods", self.methods, "method"),
        ]


class DriftFigure(OneExperiment):
    """How much the transfer gradient changes from one inner step to the next."""

    kind: Literal["drift"]


class WhereFigure(OneExperiment):
    """Heat maps of the weights of pairs, source tap × target tap, a row per method."""

    kind: Literal["where"]
    epochs: list[Annotated[int, Field(ge=1)]]  # counted from 1; the last one run is always shown


class MetaGradientFigure(OneExperiment):
    """Norms of the meta-gradient and of its weight decay over epochs."""

    kind: Literal["meta_gradient"]


class Panels(Entry):
    """What the figures of several target datasets share."""

    panels: dict[str, str]  # dataset: heading
    experiments: dict[str, str]  # dataset: experiment
    methods: list[str] = Field(min_length=1)

    def names(self) -> list[Names]:
        return [
            Names("panels", self.panels, "dataset"),
            Names("panels", self.panels, "entry of experiments", self.experiments),
            Names("experiments", self.experiments, "panel", self.panels),
            Names("experiments", self.experiments.values(), "experiment"),
            Names("methods", self.methods, "method"),
        ]


class TransferCurvesFigure(Panels):
    """Accuracy of cells of transfer over epochs and over time."""

    kind: Literal["transfer_curves"]

    def wants(self) -> Wants:
        return Wants([(self.experiments[d], d, m) for d in self.panels for m in self.methods])


class EpochTimeFigure(Panels):
    """Bars of seconds per epoch, by dataset; the first method is what the others save time of."""

    kind: Literal["epoch_time"]

    def wants(self) -> Wants:
        return Wants(measured=[(self.experiments[dataset], dataset) for dataset in self.panels])


class Bar(Model):
    label: str
    experiment: str  # has the cells of this bar
    of: str | None = None  # the method that this one estimates: drawn in the second colour


class StepsPaper(Model):
    device: str
    accuracy: dict[str, Number] = {}
    seconds: dict[str, Number] = {}


class StepsFigure(Entry):
    """Accuracy and seconds per epoch over the number of inner steps, a bar per method."""

    kind: Literal["steps"]
    dataset: str
    bars: dict[str, Bar]  # method: bar
    measured: str  # the experiment whose measurement times all of them
    paper: StepsPaper | None = None

    def wants(self) -> Wants:
        return Wants(
            [(bar.experiment, self.dataset, method) for method, bar in self.bars.items()],
            measured=[(self.measured, self.dataset)],
        )

    def names(self) -> list[Names]:
        found = [
            Names("dataset", [self.dataset], "dataset"),
            Names("bars", self.bars, "method"),
            Names("measured", [self.measured], "experiment"),
        ]
        for method, bar in self.bars.items():
            found.append(Names(f"bars.{method}.experiment", [bar.experiment], "experiment"))
            if bar.of is not None:
                found.append(Names(f"bars.{method}.of", [bar.of], "bar", self.bars))
        if (paper := self.paper) is not None:
            found.append(Names("paper.accuracy", paper.accuracy, "bar", self.bars))
            found.append(Names("paper.seconds", paper.seconds, "bar", self.bars))
        return found
