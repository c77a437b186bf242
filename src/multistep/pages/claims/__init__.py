"""Claims of the paper and their verdicts, for each scale that has results.

A claim is an entry of workflow/report/claims/*.yaml: its words, where the paper has it, and a test
of some kind (a module here, found by its name) on the results: an estimate that has to lie in a
range. A scale may say a claim otherwise, under its name in workflow/report/<scale>/claims/ (or in
the folder of the scale that it has the `pages_of`): each key that stands there replaces the one
below, and null in the place of all keys leaves the claim out.

`multistep.pages.verdicts` tests them. A verdict is of a scale as it was run; it is one about the
paper only where nothing `differs`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from multistep.files import UserError
from multistep.pages import load
from multistep.pages.scales import Scale
from multistep.pages.spec import (
    Cells,
    Experiment,
    Method,
    Methods,
    Spec,
    Wants,
    callable_so,
    kindless,
    parse,
)
from multistep.plan import params
from multistep.plan.mistakes import check_known, unknown
from multistep.plan.schema import Params
from multistep.settings import Model, repeated
from multistep.stats import Estimate

EVERY = "every scale"  # of what follows from formulas alone
Range = tuple[float | None, float | None]


class Part(NamedTuple):
    """One of the cells that a claim is about: its estimate, or why there is none."""

    name: str
    estimate: Estimate | None = None
    files: tuple[str, ...] = ()  # results that it is from, below the project's folder
    missing: str = ""


Section = Literal[
    "", "1", "2", "2.1", "2.2", "3", "3.1", "3.2", "4", "5", "5.1", "5.2", "6", "A", "B", "C", "D",
    "E", "F", "G", "H",
]  # fmt: skip


class Claim(Spec):
    """What the paper says, where, and the range in which an estimate has to lie if it is so.

    `section`, `place`: empty where it isn't the paper's. `reading`: how words without a number were
    read as one. `joint`: whether all parts have to lie in the range, or any. A kind adds what its
    `parts` need.
    """

    title: str = ""
    caption: str = ""
    text: str
    section: Section = ""
    place: str = ""
    reading: str = ""
    at_least: float | None = None
    at_most: float | None = None
    joint: Literal["all", "any"] = "all"
    unit: ClassVar[str] = ""
    scaled: ClassVar[bool] = True  # whether it is about results

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        low, high = self.range
        if self.range == (None, None):
            raise ValueError("says neither at_least nor at_most")
        if low is not None and high is not None and low > high:
            raise ValueError(f"no number is at least {low:g} and at most {high:g}")
        return self

    @property
    def source(self) -> str:
        """The section or appendix, and the place there."""
        of = f"{'appendix' if self.section.isalpha() else 'section'} {self.section}"
        return ", ".join(filter(None, [of if self.section else "not in the paper", self.place]))

    @property
    def range(self) -> Range:
        """Both ends of what is claimed."""
        return self.at_least, self.at_most

    def settled(self, pages: Mapping[str, Spec]) -> Claim:
        """The claim with the numbers that it takes from pages."""
        return self

    def misplaced(self, scales: Collection[str]) -> list[str]:
        """A line if it is about a scale that isn't one of `scales`."""
        return []

    @property
    def methods_of(self) -> set[str]:
        """The methods that it is about; of what is timed others are left out."""
        return {method for _, _, method in (*self.wants().cells, *self.wants().timed)}

    @property
    def evidence(self) -> dict[str, Any]:
        """What a verdict rests on beside pages and results."""
        return {}

    def parts(self, scale: Scale) -> Iterable[Part]:
        """The estimates on the results of a scale."""
        raise NotImplementedError


class Compared(Model):
    """Each method of `of` is set beside each of `to`, in these cells: experiments by dataset.

    `elsewhere`: the experiment of a method whose cells lie in another one.
    """

    of: Methods
    to: Methods
    cells: Cells
    elsewhere: dict[Method, Experiment] = {}


class Pair(NamedTuple):
    """Two methods that are compared on a dataset; `of` and `to` are (experiment, method)."""

    experiment: str
    dataset: str
    of: tuple[str, str]
    to: tuple[str, str]


class Comparison(Claim):
    """What the claims that compare methods share."""

    compare: Sequence[Compared] = Field(min_length=1)

    @model_validator(mode="after")
    def _compares_each_once(self) -> Comparison:
        if same := next((pair for pair in self.pairs() if pair.of == pair.to), None):
            raise ValueError(f"compares {same.of[1]} with itself")
        if twice := repeated(pair[1:] for pair in self.pairs()):
            dataset, (experiment, of), (_, to) = twice[0]
            raise ValueError(f"compares {of} with {to} twice ({experiment} on {dataset})")
        return self

    def mistakes(self, params: Params | None = None) -> list[str]:
        found = super().mistakes(params)
        for one in self.compare:
            found += unknown(
                "compare.elsewhere", one.elsewhere, [*one.of, *one.to], "compared method"
            )
        return found

    def pairs(self) -> Iterator[Pair]:
        """What is compared, a part each."""
        for one in self.compare:
            for dataset, experiments in one.cells.items():
                for experiment, a, b in itertools.product(experiments, one.of, one.to):
                    of, to = ((one.elsewhere.get(m, experiment), m) for m in (a, b))
                    yield Pair(experiment, dataset, of, to)

    def wants(self) -> Wants:
        return Wants([(e, p.dataset, m) for p in self.pairs() for e, m in (p.of, p.to)])


class OfPage(Claim):
    """What the claims on numbers share that a page prints of the paper's own."""

    page: str
    values: dict[Any, Any] = {}  # from the page

    def settled(self, pages: Mapping[str, Spec]) -> Self:
        check_known("page", [self.page], pages, "page")
        own = self.printed(pages[self.page])
        if not own:
            raise UserError(f"page: {self.page} prints no such numbers of the paper's own")
        return self.model_copy(update={"values": own})

    def printed(self, page: Any) -> dict[Any, Any]:
        """What it says `values` are, on this page."""
        raise NotImplementedError


class OfMethod(Claim):
    """What the claims on one method in some cells share: experiments by dataset."""

    method: Method
    cells: Cells

    def wants(self) -> Wants:
        return Wants([(e, d, self.method) for d, of in self.cells.items() for e in of])

    def runs(self, scale: Scale) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
        """Of each cell its name for readers, and the file and result of each seed."""
        for cell in self.wants().cells:
            yield scale.title(*cell), list(scale.runs(*cell).values())


def own(folder: Path, of: Params, pages: Mapping[str, Spec]) -> dict[str, Claim | None]:
    """The claims in the scale's own folder, below workflow/report; each as it would be without
    that folder, None if it wouldn't be.
    """
    *below, last = load.places(folder, of)
    names = [name for file in (last / "claims").glob("[!.]*.yaml") for name in params.read(file)]
    there = claims(folder, of, pages, below) if names else {}
    return {name: there.get(name) for name in names}


def claims(
    folder: Path, of: Params, pages: Mapping[str, Spec], places: Sequence[Path] = ()
) -> dict[str, Claim]:
    """The claims by id, as a scale has them; `folder` is workflow/report. `places`: the folders in
    which they lie, if not all of the scale's.

    Raises UserError with a line for each mistake.
    """
    layers: dict[str, Any] = {}
    where: dict[str, str] = {}
    found: dict[str, Claim] = {}
    mistakes = []
    overlays = (folder.parent / "scales").glob("[!.]*.yaml")
    there = {params.PAPER, of.scale, *(file.stem for file in overlays)}
    for place in places or load.places(folder, of):
        here: dict[str, str] = {}
        for file in sorted((place / "claims").glob("[!.]*.yaml")):
            entries = params.read(file)
            own = {name: f"{file.relative_to(folder.parents[1])}: {name}: " for name in entries}
            mistakes += [f"{own[n]}{here[n]}has this name too" for n in own.keys() & here.keys()]
            odd = [where for name, where in own.items() if not callable_so(name)]
            mistakes += [f"{at}the name of a claim is of letters, digits, _ and -" for at in odd]
            here |= own
            for name, entry in entries.items():
                if isinstance(entry, dict):
                    layers[name] = {**layers.get(name, {}), **entry}
                elif entry is not None or layers.pop(name, None) is None:
                    mistakes.append(f"{own[name]}must hold keys, or null for a claim to leave out")
        where |= here
    for name, values in layers.items():
        if "kind" not in values:
            mistakes.append(where[name] + kindless("claims", name, layers))
            continue
        try:
            claim = parse("claims", values, where[name])
            assert isinstance(claim, Claim)
            wrong = [*claim.mistakes(of), *claim.misplaced(there)]
            mistakes += [where[name] + mistake for mistake in wrong]
            found[name] = claim
        except UserError as error:
            mistakes += str(error).splitlines()
            continue
        try:
            found[name] = claim.settled(pages)
        except UserError as error:
            mistakes.append(f"{where[name]}{error}")
    if mistakes:
        raise UserError("claims can't be tested:\n" + "\n".join(f"  {m}" for m in mistakes))
    return found


def inner_steps(of: Params, experiment: str, method: str) -> int | None:
    """How many a method takes in an experiment; None of one that can't be run there."""
    try:
        return getattr(params.cell_settings(of, experiment, method), "inner_steps", 0)
    except UserError:
        return None


def verdict(parts: Sequence[Part], within: Range, joint: str = "all") -> str:
    """`held`, `not held`, `undecided` or `not run`, from intervals.

    All have to hold: held if each 95% interval lies inside (each alone may fail, so no correction
    is due), not held if one lies outside at 95% for all of them at once (Bonferroni). Any: held if
    one lies inside at 95% for all at once, not held if each lies outside. While parts are missing
    nothing is said of all of them that could still change.
    """
    run = [part for part in parts if part.estimate is not None]
    if not run:
        return "not run"
    plain = [side(part, within) for part in run]
    strict = [side(part, within, joint_level(len(parts))) for part in run]
    yes, no = ("inside", "outside") if joint == "all" else ("outside", "inside")
    if no in strict:
        return "not held" if joint == "all" else "held"
    if len(run) == len(parts) and set(plain) == {yes}:
        return "held" if joint == "all" else "not held"
    return "undecided"


def joint_level(parts: int) -> float:
    """Of each interval, so that all of them at once hold at 95% (Bonferroni)."""
    return 1 - 0.05 / parts


def side(part: Part, within: Range, level: float = 0.95) -> str:
    """Where a part's interval lies: inside the range, outside, or over one of its ends."""
    assert part.estimate is not None
    interval = part.estimate.interval(level)
    if interval is None:
        return "open"
    low = -math.inf if within[0] is None else within[0]
    high = math.inf if within[1] is None else within[1]
    if low <= interval[0] and interval[1] <= high:
        return "inside"
    return "outside" if interval[1] < low or interval[0] > high else "open"
