"""What a page says in its YAML file, and which names in it have to exist.

A spec names cells, measurements and prepared datasets (`wants`) and holds the printed numbers to
set beside them; it never holds a result. What only one kind of page says stands in that kind's
module, tables/<kind>.py or figures/<kind>.py, which is found by listing the folder.
Nothing here imports torch or matplotlib: Snakemake reads it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from multistep.declared import imported
from multistep.files import UserError
from multistep.plan.mistakes import check_known, explain, near, unknown
from multistep.settings import Model, Once, Title

if TYPE_CHECKING:
    from multistep.plan.schema import Params

PLACEHOLDERS = ("data",)  # of captions: the titles of the datasets that are really shown


@dataclass(frozen=True)
class Ref:
    """Marks a text in a spec as the name of `what`, which has to stand under the key `among` of the
    spec itself, or of params.yaml; `family`: of an experiment, where only one's can be shown.
    """

    what: str
    among: str
    family: str = ""


Dataset = Annotated[str, Ref("dataset", "params.datasets")]
SourceNetwork = Annotated[str, Ref("source network", "params.source_networks")]
Method = Annotated[str, Ref("method", "params.methods")]
Experiment = Annotated[str, Ref("experiment", "params.experiments")]
FewShot = Annotated[str, Ref("experiment", "params.experiments", "few_shot")]
Transfer = Annotated[str, Ref("experiment", "params.experiments", "transfer")]
Column = Annotated[str, Ref("column", "columns")]
Reference = Annotated[str, Ref("reference", "references")]
ShownMethod = Annotated[str, Ref("method", "methods")]
Methods = Annotated[list[Method], Field(min_length=1), Once]
Some = Field(min_length=1)
# Of claims: experiments by dataset.
Cells = Annotated[dict[Dataset, Annotated[list[Experiment], Some, Once]], Some]
TransferCells = Annotated[dict[Dataset, Annotated[list[Transfer], Some, Once]], Some]
Number = Annotated[list[float], Field(min_length=2, max_length=2)]  # [value, its ±], as printed


class Wants(NamedTuple):
    """What a page shows, in names of params.yaml: a scale may have stand-ins for the datasets."""

    cells: Collection[tuple[str, str, str]] = ()  # (experiment, dataset, method), every seed
    timed: Collection[tuple[str, str, str]] = ()  # the same of measurements
    prepared: Collection[str] = ()  # datasets
    evaluated: Collection[tuple[str, str, str]] = ()  # as cells: tests of their parameters

    @property
    def measured(self) -> list[tuple[str, str]]:
        """(experiment, dataset) of every measurement."""
        return list(dict.fromkeys((experiment, dataset) for experiment, dataset, _ in self.timed))

    @property
    def datasets(self) -> list[str]:
        """Every dataset once, in the page's order."""
        cells = [dataset for _, dataset, _ in (*self.cells, *self.evaluated)]
        return list(dict.fromkeys([*cells, *(d for _, d in self.measured), *self.prepared]))


class Quotation(NamedTuple):
    """A number that a paper or a library prints, and of what, in the names of params.yaml."""

    source: str  # the page's name of the reference
    quantity: str  # as in multistep.pages.frame
    value: float
    spread: float | None = None  # its ±, as printed
    experiment: str | None = None
    dataset: str | None = None
    method: str | None = None  # or a row of the literature


def _placeholders(caption: str) -> str:
    """The caption, if it can be filled in; a lone brace raises ValueError too."""
    for _, name, _, _ in string.Formatter().parse(caption):
        if name is not None and name not in PLACEHOLDERS:
            raise ValueError(f"unknown placeholder {{{name}}}; known: {{data}}")
    return caption


class Spec(Model):
    """What every page says. `beyond`: the paper has no such page.

    The docstring of a kind is how to read its pages: Snakemake's report shows it.
    """

    kind: str
    title: Title
    caption: Annotated[str, AfterValidator(_placeholders)]
    notes: list[str] = []
    beyond: bool = False

    @property
    def remark(self) -> str:
        """What the caption ends with on a page that the paper doesn't have."""
        said = "beyond the paper" in self.title.lower()
        return ". Not in the paper." if self.beyond and not said else ""

    def wants(self) -> Wants:
        """The results that the page shows."""
        raise NotImplementedError

    def untried(self, params: Params) -> set[str]:
        """Values that it is about, and that its cells and measurements don't have."""
        return set()

    def quotations(self) -> Iterator[Quotation]:
        """The printed numbers beside them."""
        yield from ()

    def mistakes(self, params: Params | None = None) -> list[str]:
        """A line for each name that points nowhere; without `params`, only within the spec."""
        found = []
        for path, name, ref in _names(self, type(self), ""):
            first, *keys = ref.among.split(".")
            among: Any = params if first == "params" else getattr(self, first)
            for key in keys:
                among = getattr(among, key, None)
            if among is None:
                continue
            found += unknown(path, [name], among, ref.what)
            if ref.family and name in among and among[name].family != ref.family:
                found.append(
                    f"{path}: {name} is of the family {among[name].family}, and {self.kind} shows "
                    f"{ref.family}; name another, or choose another kind"
                )
        return list(dict.fromkeys(found))


def _names(value: Any, annotation: Any, path: str) -> Iterator[tuple[str, str, Ref]]:
    """Every marked name under a value, with the path of its key."""
    of = get_args(annotation)
    if value is None:
        return
    if get_origin(annotation) is Annotated:
        yield from ((path, value, ref) for ref in of[1:] if isinstance(ref, Ref))
        yield from _names(value, of[0], path)
    elif get_origin(annotation) in (Union, UnionType):
        yield from _names(value, of[0], path)  # the rest is None
    elif isinstance(value, BaseModel):
        for key, field in type(value).model_fields.items():
            here, at = getattr(value, key), f"{path}.{key}".lstrip(".")
            yield from ((at, here, ref) for ref in field.metadata if isinstance(ref, Ref))
            yield from _names(here, field.annotation, at)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _names(key, of[0], path)
            yield from _names(item, of[1], f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _names(item, of[0], path)


def callable_so(name: object) -> bool:
    """Whether a page or a claim may have this name, which files, targets and anchors have too."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name) is not None


def parse(form: str, values: Any, where: str) -> Spec:
    """What a page says, checked by itself; a UserError has a line per mistake after `where`."""
    given = str(values.get("kind")) if isinstance(values, dict) else "None"
    check_known(f"{where}kind", [given], kinds(form), f"kind of {form}")
    model = module(form, given).Spec
    try:
        spec: Spec = model.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(explain(error, model, where))) from None
    if mistakes := spec.mistakes():
        raise UserError("\n".join(where + mistake for mistake in mistakes))
    return spec


def kindless(form: str, name: str, known: Collection[str]) -> str:
    """What is wrong with a page or a claim that has no kind: one of the `known` names may be meant,
    over which it was to lie.
    """
    close = near(str(name), [str(one) for one in known if one != name])
    return "kind: missing; " + (
        f"is it to lie over {close[0]}?" if close else f"known: {', '.join(kinds(form))}"
    )


@cache
def kinds(form: str) -> list[str]:
    """The kinds of tables or figures: the modules in their folder."""
    files = Path(__file__).with_name(form).glob("[a-z]*.py")
    return sorted(file.stem for file in files)


def module(form: str, kind: str) -> ModuleType:
    """The module of a kind: its `Spec`, and what the writer of its form calls."""
    found: ModuleType = imported(f"multistep.pages.{form}.{kind}", Spec=Spec)
    return found


class Literature(Model):
    """A row of numbers that the paper quotes."""

    title: str
    source: Reference
    values: dict[Column, Number]


class FewShotTable(Spec):
    """What the few-shot tables share: a column per experiment, a row per method."""

    dataset: Dataset
    columns: dict[FewShot, str] = Field(min_length=1)  # experiment: heading
    methods: Methods
    literature: dict[str, Any] = {}
    paper: Any = None
    references: dict[str, str] = {}

    def wants(self) -> Wants:
        return Wants([(c, self.dataset, m) for c in self.columns for m in self.methods])

    def quotations(self) -> Iterator[Quotation]:
        quoted = [(row, q.source, q.values) for row, q in self.literature.items()]
        if (paper := self.paper) is not None:
            quoted += [(method, paper.source, values) for method, values in paper.values.items()]
        for row, source, values in quoted:
            for column, number in values.items():
                mean, spread = [*number, None][:2]
                of = (mean, spread, column, self.dataset, row)
                yield Quotation(source, "test_accuracy", *of)


class FewShotFigure(Spec):
    """What the few-shot figures share: a row of panels per experiment, a line per method."""

    dataset: Dataset
    panels: dict[FewShot, str] = Field(min_length=1)  # experiment: heading
    methods: Methods


class OneExperiment(Spec):
    """What the figures of one transfer experiment on one dataset share."""

    dataset: Dataset
    experiment: Transfer
    methods: Methods

    def wants(self) -> Wants:
        return Wants([(self.experiment, self.dataset, method) for method in self.methods])


class Panels(Spec):
    """What the figures of several target datasets share."""

    panels: dict[
        Annotated[Dataset, Ref("entry of experiments", "experiments")], str
    ]  # dataset: heading
    experiments: dict[Annotated[str, Ref("panel", "panels")], Transfer]  # dataset: experiment
    methods: Methods
