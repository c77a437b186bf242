"""The pages of a scale: one YAML file each under workflow/report/, found by listing the folder.

`tables/<name>.yaml` and `figures/<name>.yaml` are pages of every scale that computes anything for
them. `<scale>/tables/` and `<scale>/figures/` hold what one scale has alone: a page of its own, or
under the name of a common page the keys that are merged over that one; those of a scale
that it has the `pages_of` lie between. Which module reads and draws a page follows from its
`kind`: multistep.pages.tables.<kind> or multistep.pages.figures.<kind>.
"""

from pathlib import Path
from typing import Any

from multistep.files import UserError
from multistep.pages.spec import Spec, callable_so, parse
from multistep.plan.mistakes import unknown
from multistep.plan.params import merge, read
from multistep.plan.schema import Params

FORMS = ("tables", "figures")
# Targets beside pages, whose names are targets too.
RULES = {
    "all", "choose", "data", "download", "evaluate_cell", "figure", "measure", "measure_methods",
    "networks", "pages", "paper", "parameters", "prepare", "report", "source_network", "table",
    "train", "train_cell",
}  # fmt: skip


def own(folder: Path, params: Params) -> set[str]:
    """The names of the pages in the scale's own folder, below workflow/report."""
    return {file.stem for form in FORMS for file in (folder / params.scale / form).glob("*.yaml")}


def pages(folder: Path, params: Params) -> dict[str, dict[str, Spec]]:
    """The scale's tables and figures by name, or one `UserError` with a line per mistake.

    Args:
        folder: workflow/report of the project.
        params: what the names in pages have to exist in.

    """
    found: dict[str, dict[str, Spec]] = {form: {} for form in FORMS}
    mistakes = []
    if (other := params.pages_of) is not None:
        scales = {file.parents[1].name for file in folder.glob("*/*/[!.]*.yaml")}
        mistakes = unknown("pages_of", [other], scales, "scale with a folder of pages")
    for file in folder.rglob("[!.]*.y*ml"):
        *scale, form = file.relative_to(folder).parts[:-1] or ("",)
        read_here = form in (*FORMS, "claims") and len(scale) < 2 and file.suffix == ".yaml"
        if not read_here and file != folder / "audit.yaml":
            mistakes.append(
                f"{file.relative_to(folder.parents[1])}: read by nothing here; a page is a file "
                "tables/NAME.yaml or figures/NAME.yaml, also in a folder called as its scale"
            )
    for form in FORMS:
        layers: dict[str, list[Path]] = {}
        for place in (folder / form, *(folder / name / form for name in params.own_pages)):
            for file in sorted(place.glob("[!.]*.yaml")):
                layers.setdefault(file.stem, []).append(file)
        for name, files in layers.items():
            values: dict[str, Any] = {}
            for file in files:
                values = merge(values, read(file))
            where = f"{files[-1].relative_to(folder.parents[1])}: "
            if name in found["tables"]:
                mistakes.append(f"{where}a table has this name too; choose another")
            if name in RULES:
                mistakes.append(f"{where}a target of the workflow has this name; choose another")
            if not callable_so(name):
                mistakes.append(f"{where}the name of a page is of letters, digits, _ and -")
            try:
                spec = parse(form, values, where)
            except UserError as error:
                mistakes += str(error).splitlines()
                continue
            mistakes += [where + mistake for mistake in spec.mistakes(params)]
            found[form][name] = spec
    if mistakes:
        raise UserError("pages can't be made:\n" + "\n".join(f"  {m}" for m in mistakes))
    return found
