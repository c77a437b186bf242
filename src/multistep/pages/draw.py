"""All pages of a scale in one process, drawn from those of its results that are there."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from multistep.files import UserError
from multistep.pages import inputs, load, query
from multistep.pages.figures import write_figure
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
        UserError: a result isn't as it was sealed, or isn't what the plan says; there is no page
            of such a name, or nothing was run for it.

    """
    plan = inputs.Plan.of(settled)
    paper = inputs.Plan.of(params.load(project / "params.yaml"))
    names, home = inputs.context(settled), project / settled.directory
    on_disk = OnDisk(home)

    @cache
    def read(file: str) -> dict[str, Any]:
        return query.read(home / file, inputs.expectations([file], plan), on_disk.expected)

    forms = load.pages((project / "workflow" / "report").resolve(), settled)
    pages = {name for form in forms.values() for name in form}
    if wrong := unknown(f"scale {settled.scale}", only, pages, "page"):
        raise UserError("\n".join(wrong))
    for form, specs in forms.items():
        write = write_table if form == "tables" else write_figure
        for name, spec in specs.items():
            files = [file for file in inputs.results(spec, plan) if (home / file).is_file()]
            if files and (name in only or not only):
                differences = inputs.differences(spec, plan, paper)
                context = names.model_copy(update={"differences": differences})
                records = [read(file) for file in files]
                yield from write(out / form / name, spec, context, records)


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
