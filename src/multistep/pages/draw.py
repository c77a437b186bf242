"""All pages of a scale in one process, drawn from those of its results that are there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from multistep.files import UserError
from multistep.pages import inputs, load, query
from multistep.pages.context import Context
from multistep.pages.figures import write_figure
from multistep.pages.spec import Spec
from multistep.pages.tables import write_table
from multistep.plan import params
from multistep.plan.mistakes import unknown
from multistep.plan.schema import Params
from multistep.plan.unrecorded import OnDisk


def draw(settled: Params, project: Path, out: Path, only: Collection[str] = ()) -> Iterator[Path]:
    """Draw the pages of which something was run; the paths of their files as they are written.

    The same files as the workflow's, page by page, and partial ones where results are missing.

    Args:
        settled: params.yaml and what the scale has over it.
        project: its folder; results lie below `settled.directory` in it.
        out: `tables/` and `figures/` are made in it.
        only: names of the pages to draw; none: all.

    Raises:
        UserError: a result isn't as it was sealed, or isn't what the plan says.

    """
    plan = inputs.Plan.of(settled)
    paper = inputs.Plan.of(params.load(project / "params.yaml"))
    found = list(pages(plan, paper, project))
    for page in found:
        if page.files and (page.name in only or not only):
            write = write_table if page.form == "tables" else write_figure
            yield from write(out / page.form / page.name, page.spec, page.context(), page.records())


def names(settled: Params, project: Path) -> set[str]:
    """The pages of a scale, drawable or not."""
    forms = load.pages((project / "workflow" / "report").resolve(), settled)
    return {name for pages_of in forms.values() for name in pages_of}


class Drawable(NamedTuple):
    """A page of a scale; `planned`: what it is drawn from, `files`: what of it is there."""

    form: str
    name: str
    spec: Spec
    planned: list[str]
    files: list[str]
    context: Callable[[], Context]
    records: Callable[[], list[dict[str, Any]]]


def pages(plan: inputs.Plan, paper: inputs.Plan, project: Path) -> Iterator[Drawable]:
    """Every page of a scale; its records are read when they are asked for, each file once."""
    titles, home = inputs.context(plan.params), project / plan.params.directory
    on_disk = OnDisk(home)

    @cache
    def read(file: str) -> dict[str, Any]:
        return query.read(home / file, inputs.expectations([file], plan), on_disk.expected)

    def context(spec: Spec) -> Context:
        return titles.model_copy(update={"differences": inputs.differences(spec, plan, paper)})

    def records(files: list[str]) -> list[dict[str, Any]]:
        return [read(file) for file in files]

    forms = load.pages((project / "workflow" / "report").resolve(), plan.params)
    for form, specs in forms.items():
        for name, spec in specs.items():
            planned = inputs.results(spec, plan)
            files = [file for file in planned if (home / file).is_file()]
            read_files, of_spec = partial(records, files), partial(context, spec)
            yield Drawable(form, name, spec, planned, files, of_spec, read_files)


def scales(project: Path, only: Collection[str] | None = None) -> list[Params]:
    """The scales of a project's folder that have results, the paper's first; `only` these names."""
    found = {}
    for overlay in (None, *sorted((project / "workflow" / "scales").glob("*.yaml"))):
        settled = params.load(project / "params.yaml", *([overlay] if overlay else []))
        if (project / settled.directory / "results").is_dir():
            found[settled.scale] = settled
    if wrong := unknown(
        "--scale", sorted({*(only or ())} - found.keys()), found, "scale with results"
    ):
        raise UserError("\n".join(wrong))
    return [settled for name, settled in found.items() if name in (only or found)]
