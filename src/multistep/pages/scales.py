"""The scales of a project that have results: their plans beside the paper's, and their records,
each file read once for claims, pages and the site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multistep.files import UserError
from multistep.pages import inputs, load, query
from multistep.pages.frame import CELL
from multistep.pages.spec import Spec
from multistep.plan import cells, choose, params
from multistep.plan.mistakes import check_known
from multistep.plan.unrecorded import OnDisk
from multistep.progress import say

if TYPE_CHECKING:
    from multistep.pages.claims import Claim

Run = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """The plan of a scale, and those of its results and measurements that there are (`files`).

    `pages`: its tables and figures by name, by form. `overlay`: its file, without one the paper's
    scale. `known`: what has been read of its folder, by path.
    """

    plan: inputs.Plan
    paper: inputs.Plan
    pages: Mapping[str, Mapping[str, Spec]] = field(default_factory=dict)
    files: Sequence[str] = ()
    project: Path = Path()
    overlay: Path | None = None
    known: dict[str, Run] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.plan.params.scale

    @property
    def by_name(self) -> dict[str, Spec]:
        """Its pages of both forms; no table has the name of a figure."""
        return {name: spec for form in self.pages.values() for name, spec in form.items()}

    @property
    def home(self) -> Path:
        """The folder that it is built in."""
        return self.project / self.plan.params.directory

    def file(self, path: str) -> str:
        """The path of a result below the project's folder."""
        return (Path(self.plan.params.directory) / path).as_posix()

    @cached_property
    def _on_disk(self) -> OnDisk:
        return OnDisk(self.home)

    def read(self, path: str) -> Run:
        """A result, measurement, evaluation or prepared dataset. Raises UserError: it isn't as it
        was sealed, or isn't what the plan says.
        """
        if path not in self.known:
            expected = inputs.expectations([path], self.plan)
            self.known[path] = query.read(self.home / path, expected, self._on_disk.expected)
        return self.known[path]

    @cached_property
    def records(self) -> dict[str, Run]:
        """All results and measurements by path."""
        found = {path: self.read(path) for path in self.files}
        query.check_inputs(found.values())
        choices = cells.choices(self.plan.params)
        for path, record in found.items():
            if (chosen := record["cell"].get("chosen")) is None:
                continue
            _, candidates = choices.get(self.plan.cells[path].choice or "", ("", []))
            tried = [found[c.path] for c in candidates if c.path in found]
            if tried and len(tried) == len(candidates):
                choose.check(self.home / path, chosen, tried)
        return found

    @cached_property
    def _cells(self) -> dict[tuple[str, ...], dict[int, tuple[str, Run]]]:
        found: dict[tuple[str, ...], dict[int, tuple[str, Run]]] = {}
        for path, record in self.records.items():
            if "metrics" in record:
                key = tuple(record["cell"][k] for k in CELL)
                found.setdefault(key, {})[record["cell"]["seed"]] = self.file(path), record
        return found

    def runs(self, experiment: str, dataset: str, method: str) -> dict[int, tuple[str, Run]]:
        """File and result of a cell by seed, for those that there are."""
        return self._cells.get((experiment, self.plan.params.used(dataset), method), {})

    def measured(self, experiment: str, dataset: str) -> tuple[str, Run]:
        """File and record of a measurement; one without rows if there is none."""
        path = self.plan.measured(experiment, dataset)
        return self.file(path), self.records.get(path, {"rows": []})

    def differing(self, claim: Claim) -> dict[str, list[tuple[str, Any, Any]]]:
        """In which settings a claim's cells aren't the paper's, see `inputs.differing`."""
        at_paper = self.plan is self.paper
        return {} if at_paper else inputs.differing(claim, self.plan, self.paper)

    def cell_title(self, experiment: str, dataset: str) -> str:
        """An experiment on a dataset for readers."""
        p = self.plan.params
        title = p.datasets[p.used(dataset)].title
        of = p.experiments[experiment]
        if of.family == "few_shot":
            ways, shots = (of.settings.get(key) for key in ("ways", "shots"))
            return f"{title} {ways}-way {shots}-shot"
        return f"{title}, {experiment}"

    def method_title(self, method: str) -> str:
        return self.plan.params.methods[method].title

    def title(self, experiment: str, dataset: str, method: str) -> str:
        """A cell for readers, whatever its seed."""
        return f"{self.method_title(method)}, {self.cell_title(experiment, dataset)}"


def scales(project: Path, only: Sequence[str] = ()) -> tuple[Scale, list[Scale]]:
    """The paper's scale, and all that have a folder of results, the paper's first; of them `only`
    some: by name, or by the path of an overlay that need not lie in workflow/scales.

    Raises UserError: a scale that is asked for has no results, or an overlay can't be run.
    """
    own = [Path(name) for name in only if name.endswith((".yaml", ".yml"))]
    theirs = sorted((project / "workflow" / "scales").glob("[!.]*.yaml"))
    report = (project / "workflow" / "report").resolve()
    settled = {}
    wanted = {*only} - {*map(str, own)}
    for overlay in (None, *(file for file in theirs if file.stem in wanted or not only), *own):
        try:
            plan = params.load(project / "params.yaml", *([overlay] if overlay else []))
        except UserError as error:
            if overlay not in theirs:
                raise
            if (project / "scales" / overlay.stem).exists():
                mend = f"nothing was drawn; mend {overlay}, or draw others by name (--scale)"
                raise UserError(f"{error}\n  {mend}") from None
            say(f"warning: {error}\n  {overlay} is left out, since nothing of it was run")
            continue
        settled[plan.scale] = (plan, overlay)
        wanted |= {plan.scale} if overlay in own else set()
    found: list[Scale] = []
    for plan, overlay in settled.values():
        there = (project / plan.directory / "results").is_dir()
        if not found or (there and (plan.scale in wanted or not only)):
            of = inputs.Plan.of(plan)
            home, paper = project / plan.directory, found[0].plan if found else of
            files = [f for f in (*of.cells, *of.measurements) if (home / f).exists()]
            found.append(Scale(of, paper, load.pages(report, plan), files, project, overlay))
    homes = {(project / plan.directory).resolve() for plan, _ in settled.values()}
    for home in sorted(project.glob("scales/*/")):
        if not only and (home / "results").is_dir() and home.resolve() not in homes:
            say(
                f"warning: {home} is left out: workflow/scales/ has no overlay of it; name yours "
                "(--scale)"
            )
    shown = {s.name: s for s in found if (s.home / "results").is_dir()}
    run = {f.stem for f in theirs if (project / "scales" / f.stem / "results").is_dir()}
    lacking = sorted(wanted - shown.keys())
    check_known("--scale", lacking, run | shown.keys(), "scale with results")
    return found[0], [s for name, s in shown.items() if name in wanted or not only]
