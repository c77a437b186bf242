"""Run one cell, from its seed to its result.

`multistep train --cell '<json>'` is what the rule `train_cell` calls. On the CPU a cell is
deterministic: one version of torch and one number of threads give the same bits, however often the
run was killed and resumed. On CUDA the batches are the same and sums may differ in rounding.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from multistep.files import UserError, read_json
from multistep.job import arguments, checkpoint, device, loop, results
from multistep.job.record import CellRecord
from multistep.plan import provenance
from multistep.plan.families import FAMILIES, module, settings_of
from multistep.progress import say
from multistep.settings import Model, parse


def run_cell(
    cell: dict[str, Any],
    data: Path,
    network: Path | None,
    out: Path,
    checkpoint_path: Path,
    where: str,
    threads: int,
    checkpoint_seconds: float = 60,
) -> None:
    """Train (or resume), test, write the result, forget the checkpoint."""
    place = device.prepare(where, threads)
    with checkpoint.exclusive(checkpoint_path):
        run = module(cell["family"], "run").Run(cell, data, network, place)
        entries = provenance.cell_modules(cell["family"], cell["algorithm"])
        key = checkpoint.run_key([cell, run.made_from], entries, place.type, threads)
        loop.to_the_end(run, checkpoint_path, key, checkpoint_seconds, place)
        metrics = run.test()
        record = {
            "cell": cell,
            "metrics": metrics,
            "history": run.history,
            "timing": {**run.timing(), "peak_bytes": device.peak_bytes(place)},
            "environment": device.environment(place, threads),
        }
        choice = cell.get("chosen", {}).get("seal")
        code = provenance.code(*entries)
        results.write(out, record, {**run.made_from, "choice": choice, "code": code})
        checkpoint.remove(checkpoint_path)
    if "test_accuracy" in metrics:
        say(f"test accuracy {metrics['test_accuracy']:.2f} % → {out}")
    else:
        say(f"candidate: {metrics['best'] or metrics['diverged']} → {out}")


def model_of(cell: dict[str, Any]) -> type[Model]:
    """The type of a cell's settings."""
    return settings_of(cell["family"], cell["algorithm"], cell["kind"])


def with_choice(cell: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
    """A cell that waits for a choice (see `multistep.plan.choose`), with the value in it."""
    settings = cell["settings"] | {choice["setting"]: choice["value"]}
    return {**cell, "settings": settings, "chosen": choice}


def add_parser(subparsers: Any) -> None:
    """`multistep train`."""
    parser = subparsers.add_parser("train", help="run one cell", description=__doc__)
    parser.add_argument("--cell", required=True, help="the cell as JSON, as the plan prints it")
    parser.add_argument("--choice", type=Path, help="what was chosen for it (results/choices/...)")
    stem = "<experiment>/<dataset>/<method>/<seed>"
    arguments.add(parser, f"results/{stem}.json", f"scratch/results/{stem}.pt")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Parse the cell, fill in the default paths, run it."""
    cell = _cell(args.cell)
    if args.choice:
        cell = with_choice(cell, _choice(args.choice, cell))
    settings = _settings(cell, args.choice)
    stem = "/".join(str(cell[k]) for k in ("experiment", "dataset", "method", "seed"))
    data = args.data or Path("data/processed") / cell["dataset"]
    source = getattr(settings, "source", None)
    network = args.network or (Path("data/networks") / source if source else None)
    out = args.out or Path(f"results/{stem}.json")
    scratch = args.checkpoint or Path(f"scratch/results/{stem}.pt")
    run_cell(cell, data, network, out, scratch, args.device, args.threads, args.checkpoint_seconds)


def _cell(text: str) -> dict[str, Any]:
    """The cell of `--cell`, its settings not yet checked. Raises UserError if it is none."""
    try:
        cell: dict[str, Any] = json.loads(text)
        checked = parse(CellRecord, cell, "")
    except (ValueError, UserError) as error:
        raise UserError(f"--cell is not the JSON of a cell ({error})") from None
    cell.setdefault("kind", checked.kind)
    if cell["family"] not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UserError(f"--cell: no family named {cell['family']!r}; known: {known}")
    return cell


def _choice(file: Path, cell: dict[str, Any]) -> dict[str, Any]:
    """What `multistep choose` wrote. Raises UserError that names the file if that isn't in it."""
    choice: dict[str, Any] = read_json(file)
    wrong: list[str] = []
    try:
        model_of(cell).model_validate({choice["setting"]: choice["value"]})
    except (KeyError, TypeError):
        wrong = ["it has no `setting` and `value`"]
    except ValidationError as error:  # which settings are missing is the cell's matter
        wrong = [
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}"
            for e in error.errors()
            if e["type"] != "missing"
        ]
    if wrong:
        raise UserError(f"{file}: not a choice ({wrong[0]}); delete it and build it again")
    return choice


def _settings(cell: dict[str, Any], choice: Path | None) -> Model:
    """The typed settings. Raises UserError, one line, that says which are missing or wrong."""
    try:
        model = model_of(cell)
    except UserError as error:
        raise UserError(f"--cell: {error}") from None
    settings = cell["settings"]
    missing = [key for key in model.model_fields if key not in settings]
    unknown = [key for key in settings if key not in model.model_fields]
    if choice is None and len(missing) == 1 and not unknown:
        waits = "/".join(str(cell[k]) for k in ("experiment", "dataset", "method"))
        raise UserError(
            f"--cell: settings.{missing[0]} is missing; if the cell waits for a choice, "
            f"--choice results/choices/{waits}.json gives it"
        )
    return parse(model, settings, "--cell: settings.")
