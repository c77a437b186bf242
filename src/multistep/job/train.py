"""Run one cell, from its seed to its result.

`multistep train --cell '<json>'` is what the rule `train_cell` calls; `multistep train PATH`, with
the path of a result that params.yaml plans, is the same with all that the plan says of it. On the
CPU a cell is deterministic: one version of torch and one number of threads give the same bits,
however often the run was killed and resumed. On CUDA the batches are the same and sums may differ
in rounding.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from multistep import kinds, seal
from multistep.data import prepared
from multistep.files import UserError, check_writable
from multistep.job import arguments, parameters, results
from multistep.job.record import CellRecord, name_of
from multistep.plan import provenance
from multistep.plan.families import FAMILIES, module, settings_of
from multistep.progress import say
from multistep.settings import Model, json_of, parse


def model_of(cell: dict[str, Any]) -> type[Model]:
    """The type of a cell's settings."""
    return settings_of(cell["family"], cell["algorithm"], cell["kind"])


def add_parser(subparsers: Any) -> None:
    """`multistep train`."""
    parser = subparsers.add_parser("train", help="run one cell", description=__doc__)
    parser.add_argument("--cell", required=True, help="the cell as JSON, as the plan prints it")
    parser.add_argument("--choice", type=Path, help="what was chosen for it (results/choices/...)")
    parser.add_argument("--choice-of", help="what that has to be, as JSON (the plan's)")
    stem = "<experiment>/<dataset>/<method>/<seed>"
    arguments.add(parser, f"results/{stem}.json", f"scratch/results/{stem}.pt")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Train the cell (or resume), test, write parameters and result; what they were made of stays
    until they have been accepted (see `loop.to_the_end`).
    """
    cell, choice = _cell(args.cell), None
    if args.choice:
        right = None if args.choice_of is None else json_of("--choice-of", args.choice_of)
        chosen, choice = _choice(args.choice, cell, right)
        settings = cell["settings"] | {chosen["setting"]: chosen["value"]}
        cell = {**cell, "settings": settings, "chosen": chosen}
    settings = _complete(cell, args.choice)
    source = cell["settings"].get("source")
    name = name_of(cell)
    data = args.data or Path("data/processed") / cell["dataset"]
    network = args.network or (Path("data/networks") / source if source else None)
    out = args.out or Path(f"results/{name}.json")
    scratch = args.checkpoint or Path(f"scratch/results/{name}.pt")
    there = kinds.check_place(out, kinds.RESULT, cell)
    for path in (parameters.beside(out), scratch):
        check_writable(path)
    parameters.check_place(parameters.beside(out), cell)
    about = prepared.describe(data, cell["dataset"], cell["data"])
    for wrong in module(cell["family"], "checks").unfit(settings, about, network):
        raise UserError(f"--cell: {wrong}")
    if there:
        say(there)
    # What imports torch, seconds on a busy machine: not for --help or a wrong command line.
    from multistep.job import checkpoint, device, loop

    place = device.prepare(args.device, args.threads)
    environment = device.environment(place, args.threads)
    with checkpoint.exclusive(scratch):
        run = module(cell["family"], "run").Run(cell, data, network, place)
        entries = provenance.cell_modules(cell["family"], cell["algorithm"])
        kept = ("family", "kind", "algorithm", "seed")

        def key(without: str | None) -> str:
            settings = {k: v for k, v in cell["settings"].items() if k != without}
            decisive = {k: cell[k] for k in kept} | {"settings": settings}
            return checkpoint.run_key([decisive, run.made_from], entries, place, args.threads)

        def outcome() -> dict[str, Any]:
            return {
                "metrics": run.test(),
                "parameters": {n: p.detach().cpu() for n, p in run.parameters().items()},
                "history": run.history,
                "timing": {**run.timing(), "peak_bytes": device.peak_bytes(place)},
                "environment": environment,
            }

        longer = key(run.lengthened_by) if run.lengthened_by else None
        every = args.checkpoint_seconds
        made = loop.to_the_end(run, scratch, key(None), every, place, outcome, longer)
        made_from = {**run.made_from, "choice": choice, "code": provenance.code(*entries)}
        tensors = {n: p.numpy() for n, p in made["parameters"].items()}
        file = parameters.beside(out)
        # A kill between the two leaves parameters that no result knows; both are written again.
        made["parameters"] = parameters.write(file, tensors, cell, run.built_with, made_from)
        results.write(out, {"cell": cell, **made}, made_from)
    if longer is None:
        say("it can't be lengthened later: each iteration depends on how many there are")
    metrics = made["metrics"]
    if "test_accuracy" in metrics:
        say(f"test accuracy {metrics['test_accuracy']:.2f} % → {out}")
    else:
        say(f"candidate: {metrics['best'] or metrics['diverged']} → {out}")


def _cell(text: str) -> dict[str, Any]:
    """The cell of `--cell`, its settings not yet checked. Raises UserError if it is none."""
    cell: dict[str, Any] = json_of("--cell", text)
    checked = parse(CellRecord, cell, "--cell: ")
    cell.setdefault("kind", checked.kind)
    if checked.family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UserError(f"--cell: no family named {checked.family!r}; known: {known}")
    return cell


def _choice(
    file: Path, cell: dict[str, Any], right: dict[str, Any] | None
) -> tuple[dict[str, Any], str]:
    """What `multistep choose` wrote for this cell, and its seal; `right`: all that the plan says of
    it. Raises UserError, one line, if that isn't it.
    """
    choice = results.read_choice(file, right)
    for key in choice["cell"].keys() - {"settings"}:
        if choice["cell"][key] != cell.get(key):
            raise UserError(
                f"{file}: made for {key} {choice['cell'][key]!r}, but the cell has "
                f"{cell.get(key)!r}; give its own choice"
            )
    if choice["setting"] not in model_of(cell).model_fields:
        raise UserError(f"{file}: the cell has no setting {choice['setting']}; {seal.AGAIN}")
    return {k: choice[k] for k in ("setting", "value", "rule", "candidates")}, choice["seal"]


def _complete(cell: dict[str, Any], choice: Path | None) -> Model:
    """The settings. Raises UserError for an algorithm that isn't there, for settings that aren't
    its or can't be run together, and for one that a choice gives.
    """
    try:
        model = model_of(cell)
    except UserError as error:
        raise UserError(f"--cell: {error}") from None
    missing = model.model_fields.keys() - cell["settings"].keys()
    if choice is None and len(missing) == 1 and cell["settings"].keys() < model.model_fields.keys():
        waits, _, _ = name_of(cell).rpartition("/")
        raise UserError(
            f"--cell: settings.{missing.pop()} is missing; if the cell waits for a choice, "
            f"--choice results/choices/{waits}.json gives it"
        )
    settings = parse(model, cell["settings"], "--cell: settings.")
    for clash in settings.clashes():
        raise UserError(f"--cell: settings.{clash}")
    return settings
