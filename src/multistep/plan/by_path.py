"""`multistep train results/.../0.json`: a cell named by the file of its result."""

from __future__ import annotations

from pathlib import Path

from multistep.files import UserError, canonical_json
from multistep.plan import cells, choose, params
from multistep.plan.mistakes import unknown


def train(file: Path) -> list[str]:
    """The options of `multistep train` for the cell whose result lies at `file`, as its rule has
    them. Its scale follows from the folder: scales/<scale>/results/..., or the project's results/.

    Raises UserError: it is no path of the plan's, or of no scale under workflow/scales.
    """
    absolute = file.absolute()
    home = next((p.parent for p in absolute.parents if p.name == "results"), None)
    if home is None:
        raise UserError(f"{file}: not below a folder results/; `multistep params` lists the paths")
    project, layers = home, []
    if not (home / "params.yaml").exists():
        project = home.parents[1]
        layers = [project / "workflow" / "scales" / f"{home.name}.yaml"]
    plan = params.load(project / "params.yaml", *layers)
    planned = {cell.path: cell for cell in cells.plan(plan)}
    path = absolute.relative_to(home).as_posix()
    if wrong := unknown(str(file), [path], planned, f"cell of scale {plan.scale}"):
        raise UserError(wrong[0].partition("; known: ")[0])
    cell = planned[path]
    source = cell.definition["settings"].get("source")
    options = ["--cell", cell.json, "--out", str(home / path)]
    options += ["--data", str(home / "data" / "processed" / cell.dataset)]
    options += ["--network", str(home / "data" / "networks" / source)] if source else []
    if cell.choice:
        options += ["--choice", str(home / cell.choice)]
        setting, candidates = cells.choices(plan)[cell.choice]
        right = choose.definition(setting, [candidate.definition for candidate in candidates])
        options += ["--choice-of", canonical_json(right)]
    options += ["--checkpoint", str((home / "scratch" / path).with_suffix(".pt"))]
    options += ["--checkpoint-seconds", str(plan.checkpoint_seconds)]
    return [*options, "--device", plan.device, "--threads", str(plan.threads)]
