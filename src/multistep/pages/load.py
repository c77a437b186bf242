"""The pages of a scale: one YAML file each under workflow/report/, found by listing the folder.

`tables/<name>.yaml` and `figures/<name>.yaml` are pages of every scale that computes anything for
them. `<scale>/tables/` and `<scale>/figures/` hold what one scale has alone: a page of its own, or
under the name of a common page the keys that are merged over that one (null takes one away); those
of a scale that it has the `pages_of` lie between. Which module reads and draws a page follows from
its `kind`: multistep.pages.tables.<kind> or multistep.pages.figures.<kind>.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multistep.files import UserError
from multistep.pages.spec import Spec, callable_so, kindless, parse
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


def places(folder: Path, params: Params) -> list[Path]:
    """Where pages and claims of a scale lie, each over those before: workflow/report (`folder`) and
    in it the folder of the scale that it has the `pages_of`, after that scale's own, and its own.

    Raises UserError: `pages_of` leads back.
    """
    found, other = [params.scale], params.pages_of
    while other is not None:
        if other in found:
            raise UserError(f"pages_of: {other} has its pages of itself; name another, or none")
        found.append(other)
        overlay = folder.parent / "scales" / f"{other}.yaml"
        other = read(overlay).get("pages_of") if overlay.is_file() else None
    return [folder, *(folder / name for name in reversed(found))]


def own(folder: Path, params: Params) -> dict[str, Spec | None]:
    """The pages in the scale's own folder, below workflow/report; each as it would be without that
    folder, None if it wouldn't be.
    """
    found: dict[str, Spec | None] = {}
    *below, last = places(folder, params)
    for form in FORMS:
        for file in sorted((last / form).glob("[!.]*.yaml")):
            under = [f for place in below if (f := place / form / file.name).is_file()]
            found[file.stem] = parse(form, _laid(under), f"{file}: ") if under else None
    return found


def _laid(files: Sequence[Path]) -> dict[str, Any]:
    """What the files of a page say together."""
    values: dict[str, Any] = {}
    for file in files:
        values = merge(values, read(file), drop=True)
    return values


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
        for place in places(folder, params):
            for file in sorted((place / form).glob("[!.]*.yaml")):
                layers.setdefault(file.stem, []).append(file)
        for name, files in layers.items():
            values = _laid(files)
            where = f"{files[-1].relative_to(folder.parents[1])}: "
            if name in found["tables"]:
                mistakes.append(f"{where}a table has this name too; choose another")
            if name in RULES:
                mistakes.append(f"{where}a target of the workflow has this name; choose another")
            if not callable_so(name):
                mistakes.append(f"{where}the name of a page is of letters, digits, _ and -")
            if "kind" not in values:
                mistakes.append(where + kindless(form, name, layers))
                continue
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
