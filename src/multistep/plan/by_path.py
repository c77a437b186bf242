"""What `multistep train` is told of a cell: by its rule, and for the path of its result."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from multistep.files import UserError, canonical_json
from multistep.options import EMPTY
from multistep.plan import cells, choose, params
from multistep.plan.cells import Cell, Choice
from multistep.plan.mistakes import near
from multistep.plan.schema import Params


def train(text: str) -> list[str]:
    """All options of `multistep train` for the cell whose result lies at a path. Its scale follows
    from the folder: scales/<scale>/results/..., or the project's results/.

    Raises UserError: it is no path of the plan's, or of no scale under workflow/scales.
    """
    if not text:
        raise UserError(f"the path of a result: {EMPTY}")
    file = Path(text)
    absolute = file.absolute()
    home = next((p.parent for p in absolute.parents if p.name == "results"), None)
    if home is None:
        raise UserError(f"{file}: not below a folder results/; `multistep params` lists the paths")
    project, layers = home, []
    if not (home / "params.yaml").exists():
        project = home.parent.parent
        layers = [project / "workflow" / "scales" / f"{home.name}.yaml"]
    plan = params.load(project / "params.yaml", *layers)
    planned = {cell.path: cell for cell in cells.plan(plan)}
    path = absolute.relative_to(home).as_posix()
    if path not in planned:
        found = " or ".join(near(path, planned))
        hint = f"did you mean {found}?" if found else "`multistep params` lists the paths"
        raise UserError(f"{file}: no cell of scale {plan.scale}; {hint}")
    own = ["--cell", planned[path].json, "--out", str(home / path), "--threads", str(plan.threads)]
    return [*own, *options(planned[path], plan, cells.choices(plan), home)]


def options(cell: Cell, plan: Params, choices: Mapping[str, Choice], home: Path) -> list[str]:
    """Where the inputs and the state of a cell lie in its scale's folder `home`, where it runs, and
    what a choice has to be. None of that is part of what the cell is.
    """
    found: dict[str, object] = {"--data": home / "data/processed" / cell.dataset}
    if source := json.loads(cell.settings).get("source"):
        found["--network"] = home / "data/networks" / source
    if cell.choice:
        found["--choice"] = home / cell.choice
        found["--choice-of"] = choice_of(*choices[cell.choice])
    # The checkpoint isn't declared as an output: Snakemake deletes those of a failed job.
    found["--checkpoint"] = (home / "scratch" / cell.path).with_suffix(".pt")
    found |= {"--checkpoint-seconds": plan.checkpoint_seconds, "--device": plan.device}
    # Interned: thousands of cells share most of them.
    return [sys.intern(str(word)) for option in found.items() for word in option]


@cache
def choice_of(setting: str, candidates: tuple[Cell, ...]) -> str:
    """What a choice has to be, as its command and those of the cells that use it are told."""
    right = choose.definition(setting, [candidate.definition for candidate in candidates])
    return canonical_json(right)
