"""All pages of a scale, drawn from those of its results that are there."""

import importlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multistep.files import build_command
from multistep.pages import apart, checks, inputs, load, style
from multistep.pages.context import Context
from multistep.pages.figures import write_figure
from multistep.pages.scales import Scale
from multistep.pages.spec import Spec
from multistep.pages.tables import write_table


class Drawable(NamedTuple):
    """A page of a scale; `planned`: what it is drawn from, `files`: what of it is there."""

    form: str
    name: str
    spec: Spec
    planned: list[str]
    files: list[str]
    scale: Scale

    @property
    def context(self) -> Context:
        """The names around it, and how its cells aren't the paper's."""
        return inputs.context_of(self.spec, self.scale.plan, self.scale.paper)

    @property
    def records(self) -> list[dict[str, Any]]:
        """What it is drawn from."""
        return [self.scale.read(file) for file in self.files]


def draw(scale: Scale, out: Path, only: Collection[str] = ()) -> Iterator[Path]:
    """Draw the pages of which something was run; the paths of their files.

    The same files as the workflow's, page by page, and partial ones where results are missing.

    Args:
        scale: what `multistep.pages.scales` gives.
        out: `tables/` and `figures/` are made in it.
        only: names of the pages to draw; none: all.

    Raises:
        UserError: a result isn't as it was sealed, or isn't what the plan says.

    """

    def write(page: Drawable) -> list[Path]:
        write = write_table if page.form == "tables" else write_figure
        return write(out / page.form / page.name, page.spec, page.context, page.records)

    wanted = [p for p in pages(scale) if p.files and (p.name in only or not only)]
    prepare(wanted)
    for paths in apart.each(write, wanted)():
        yield from paths


def prepare(pages: Collection[Drawable]) -> None:
    """Read and import what all pages are drawn with, before processes each do it for themselves."""
    for page in pages:
        _ = page.records
    if any(page.form == "figures" for page in pages):
        style.theme()
        for name in ("agg", "pdf", "svg"):
            importlib.import_module(f"matplotlib.backends.backend_{name}")


def undrawn(paper: Scale, of: Sequence[Scale], only: Collection[str] = ()) -> Iterator[str]:
    """A line for each page that none of the scales `of` draws, and why: of those `only`, else of
    all but those that other scales than these run.
    """
    drawable = [page for scale in of for page in pages(scale)]
    drawn = {page.name for page in drawable if page.files}
    owned = {s.name: load.own(s.project / "workflow/report", s.plan.params) for s in of}
    said: dict[str, str] = {}
    for form, name, spec, planned, _, scale in drawable:
        if name in drawn or (only and name not in only):
            continue
        if planned:
            command = build_command(scale.home / "reports" / form / f"{name}.json")
            said[name] = (
                f"none of its {len(planned)} results at scale {scale.name} is there; {command}"
            )
        elif why := checks.nothing(name, spec, scale.plan, paper.plan, owned[scale.name]):
            said.setdefault(name, why)
        elif only:
            said.setdefault(name, f"scale {scale.name} runs nothing of it")
    yield from (f"{name} isn't drawn: {why}" for name, why in said.items())


def pages(scale: Scale) -> Iterator[Drawable]:
    """Every page of a scale; its records are read when they are asked for."""
    for form, specs in scale.pages.items():
        for name, spec in specs.items():
            planned = inputs.results(spec, scale.plan)
            files = [file for file in planned if (scale.home / file).exists()]
            yield Drawable(form, name, spec, planned, files, scale)
