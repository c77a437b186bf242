"""What is told of pages and claims before anything is run; nothing here imports torch."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from multistep.files import UserError
from multistep.pages import claims, load
from multistep.pages.inputs import Plan, results
from multistep.pages.spec import Spec
from multistep.plan import params
from multistep.plan.mistakes import unknown
from multistep.plan.params import PAPER
from multistep.settings import Model, parse

Pages = Mapping[str, Mapping[str, Spec]]


class Entry(Model):
    """What audit.yaml says of a finding; `quotes` are certain, too."""

    title: str
    source: str
    certain: str = ""
    inferred: str = ""
    quotes: list[str] = []


def audit(folder: Path) -> dict[str, Entry]:
    """The entries of audit.yaml; `folder`: workflow/report. Raises UserError, a line a mistake."""
    found, mistakes, computed = {}, [], _computed()
    for name, values in params.read(folder / "audit.yaml").items():
        try:
            entry = found[name] = parse(Entry, values, f"audit.yaml: {name}: ")
            for text in (entry.certain, entry.inferred):
                parts = [field for _, field, _, _ in string.Formatter().parse(text)]
                names = [re.split(r"[.[]", field)[0] for field in parts if field is not None]
                known = computed.get(f"_{name}", set())
                mistakes += unknown(f"audit.yaml: {name}", names, known, "number")
        except UserError as error:
            mistakes.append(str(error))
        except ValueError as error:  # of a lone brace
            mistakes.append(f"audit.yaml: {name}: {error}; mend the text")
    if mistakes:
        raise UserError("\n".join(mistakes))
    return found


def _computed() -> dict[str, set[str]]:
    """The names of numbers that each function of `multistep.pages.audit` computes: read, since that
    imports torch.
    """
    module = ast.parse(Path(__file__).with_name("audit.py").read_text(encoding="utf-8"))
    functions = {f.name: list(ast.walk(f)) for f in module.body if isinstance(f, ast.FunctionDef)}

    def keys(name: str) -> set[str]:
        nodes = functions[name]
        called = {node.id for node in nodes if isinstance(node, ast.Name)} & functions.keys()
        of = (key for node in nodes if isinstance(node, ast.Dict) for key in node.keys)
        own = {str(key.value) for key in of if isinstance(key, ast.Constant)}
        return own.union(*(keys(other) for other in called - {name}))

    return {name: keys(name) for name in functions}


def warnings(
    folder: Path, plan: Plan, paper: Callable[[], Plan], pages: Pages | None = None
) -> list[str]:
    """A line for all that nobody will see, see `unshown`; `folder`: workflow/report.

    Raises UserError, a line for each mistake in pages, claims and the audit.
    """
    pages = load.pages(folder, plan.params) if pages is None else pages
    by_name = {name: spec for form in pages.values() for name, spec in form.items()}
    said = claims.claims(folder, plan.params, by_name)
    if (folder / "audit.yaml").exists():
        audit(folder)
    own: dict[str, Spec | None] = {**load.own(folder, plan.params)}
    own |= {f"claim {n}": c for n, c in claims.own(folder, plan.params, by_name).items()}
    return unshown(pages, plan, paper, own, said)


def unshown(
    pages: Pages,
    plan: Plan,
    paper: Callable[[], Plan],
    own: Mapping[str, Spec | None] = {},
    said: Mapping[str, claims.Claim] = {},
) -> list[str]:
    """Warnings, a line each: of cells that no page shows; of pages that show nothing and claims
    (`said`) that nothing is run of; of cells and values of either that aren't run, but those that
    the `paper` runs (a scale that runs less leaves rows out), unless this scale's own folder says
    them (`own`: what is written there, and what it is without that); of other cells than the
    paper's in the paper's own folder.
    """
    found, shown = [], set[str]()
    if plan.params.scale == PAPER:
        theirs = paper().cells
        other = sum(theirs.get(path) != cell for path, cell in plan.cells.items())
        if other:
            found.append(
                f"{other} of {len(plan.cells)} cells aren't those of params.yaml, in whose folder "
                "they lie; give the overlay a name (scale: mine, directory: scales/mine)"
            )
    drawn = (item for form in pages.values() for item in form.items())
    named: list[tuple[str, str, Spec]] = [(name, "isn't drawn", spec) for name, spec in drawn]
    named += [(f"claim {n}", "isn't tested", c) for n, c in said.items() if c.scaled]
    for name, without, spec in named:
        files = results(spec, plan)
        if not isinstance(spec, claims.Claim):
            shown.update(files)
        if not files and (why := nothing(name, spec, plan, paper(), own)):
            found.append(f"{name} {without}: {why}")
        if files and (lacking := _lacking(name, spec, plan, paper, own)):
            more = f" and {len(lacking) - 5} more" if lacking[5:] else ""
            found.append(
                f"{name} lists {', '.join(lacking[:5])}{more}, of which it gets no result; add it "
                "to `methods`, `datasets`, `measured` or `choose` of its experiments (steps: to "
                "`measure`), or leave it out there (null takes away what a page has from below)"
            )
    cells = [c for c in plan.cells.values() if c.kind == "cell"]
    unseen = [
        (f"{cell.experiment} on {cell.dataset}", cell.method)
        for cell in cells
        if shown.isdisjoint((cell.path, cell.evaluation))
    ]
    if unseen:
        found.append(
            f"no page shows {len(unseen)} of {len(cells)} cells: {_listed(unseen)}; add a page "
            "(docs/adding.md), or leave them out"
        )
    return found


def nothing(name: str, spec: Spec, plan: Plan, paper: Plan, own: Collection[str] = ()) -> str:
    """Why a page shows nothing; empty if it shows something. Unless it is of `own`, the pages that
    were written for this scale, empty also if the `paper` or the scale that it was written for runs
    some of it.
    """
    others = name not in own and (plan.params.pages_of or results(spec, paper))
    if others or results(spec, plan):
        return ""
    wants = spec.wants()
    cells = ((f"{e} on {d}", m) for e, d, m in (*wants.cells, *wants.evaluated))
    timed = ((f"{e} on {d}", "measured") for e, d in wants.measured)
    listed = _listed([*cells, *timed, *((d, "prepared") for d in wants.prepared)])
    scale = plan.params.scale
    like = "" if name in own or scale == PAPER else ", like params.yaml,"
    return (
        f"scale {scale}{like} runs nothing of what it names ({listed}); name what is run, or add "
        "it to its experiments"
    )


def _listed(cells: Iterable[tuple[str, str]]) -> str:
    """Methods by experiment and dataset, of at most three of these."""
    found: dict[str, dict[str, None]] = {}
    for name, method in cells:
        found.setdefault(name, {})[method] = None
    of = [f"{name} ({', '.join(methods)})" for name, methods in found.items()]
    more = f" and {len(of) - 3} more" if of[3:] else ""
    return f"{'; '.join(of[:3])}{more}"


def _lacking(
    name: str, spec: Spec, plan: Plan, paper: Callable[[], Plan], own: Mapping[str, Spec | None]
) -> list[str]:
    """What of a page or a claim has no result, see `unshown`: values, then as `_named`."""
    wanted, without, untried = _wanted(spec), _unrun(spec, plan), spec.untried(plan.params)
    if not without and not untried:
        return []  # most pages, and the paper's plan takes time
    if name in own:
        below = own[name]
        said_here = wanted - (_wanted(below) if below else set())
        without &= _unrun(spec, paper()) | said_here
    else:
        without &= _unrun(spec, paper())
        untried &= spec.untried(paper().params)
    return [*sorted(untried), *_named(without, wanted)]


class _Wanted(NamedTuple):
    """A cell of a page or a claim, or its time."""

    experiment: str
    dataset: str
    method: str
    timed: bool

    @property
    def place(self) -> str:
        return f"{self.experiment} on {self.dataset}"


def _named(without: set[_Wanted], wanted: set[_Wanted]) -> Iterator[str]:
    """Those `without` a result: methods and experiments of which all that is `wanted` is among
    them, by their names; single cells of others.
    """
    for name in (attrgetter("method"), attrgetter("place")):
        whole = {name(cell) for cell in without} - {name(cell) for cell in wanted - without}
        without = {cell for cell in without if name(cell) not in whole}
        yield from sorted(whole)
    yield from sorted(f"{c.method} {'timed ' if c.timed else ''}in {c.place}" for c in without)


def _wanted(spec: Spec) -> set[_Wanted]:
    """The cells of a page or a claim."""
    wants = spec.wants()
    cells = {_Wanted(*cell, timed=False) for cell in (*wants.cells, *wants.evaluated)}
    return cells | {_Wanted(*cell, timed=True) for cell in wants.timed}


def _unrun(spec: Spec, plan: Plan) -> set[_Wanted]:
    """Those of them that a plan hasn't."""

    def planned(cell: _Wanted) -> bool:
        if cell.timed:
            path = plan.measured(cell.experiment, cell.dataset)
            return path in plan.measurements and cell.method in plan.measurements[path]["methods"]
        return (cell.experiment, plan.params.used(cell.dataset), cell.method) in plan.seeds

    return {cell for cell in _wanted(spec) if not planned(cell)}
