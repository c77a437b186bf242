"""Time and memory of the methods of one experiment on one dataset, side by side.

`multistep measure` is what the rule `measure_methods` calls. All methods are interleaved in one
process, round by round after a warm-up, so that whatever else the machine does falls on all of
them alike. What is timed belongs to the family: `multistep.fewshot.measure`,
`multistep.transfer.measure`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from multistep import kinds
from multistep.data import prepared
from multistep.files import UserError
from multistep.job import arguments, results
from multistep.job.record import name_of
from multistep.job.settings import Definition
from multistep.plan import provenance
from multistep.plan.families import module, settings_of
from multistep.progress import progress, say
from multistep.settings import json_of, parse

if TYPE_CHECKING:
    import torch

Key = TypeVar("Key")
What = TypeVar("What")


def interleaved(
    title: str, measured: Mapping[Key, What], clock: Callable[[What, int], float], rounds: int,
    warm_up: int,
) -> dict[Key, list[float]]:  # fmt: skip
    """Seconds that `clock(what, number of the round)` tells, `rounds` of each, taken in turn.

    The first `warm_up` rounds are left out.
    """
    seconds: dict[Key, list[float]] = {key: [] for key in measured}
    with progress(title, (warm_up + rounds) * len(measured), "measured steps") as advance:
        for number in range(warm_up + rounds):
            for key, what in measured.items():
                spent = clock(what, number)
                if number >= warm_up:
                    seconds[key].append(spent)
                advance(1)
    return seconds


def unit(place: torch.device, kept: str) -> dict[str, str]:
    """What times and bytes of a measurement are; `kept`: on a CPU the bytes for the way back."""
    if place.type == "cuda":
        return {"time": "CUDA-event seconds", "memory": "peak allocated bytes"}
    return {"time": "process seconds", "memory": kept}


def add_parser(subparsers: Any) -> None:
    """`multistep measure`."""
    parser = subparsers.add_parser(
        "measure", help="time and memory of one experiment's methods", description=__doc__
    )
    parser.add_argument("--definition", required=True, help="the measurement as JSON (the plan's)")
    arguments.add(parser, "results/measure/<experiment>/<dataset>.json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure every method of one experiment on one dataset and write the result."""
    where = "--definition: "
    definition = json_of("--definition", args.definition)
    checked = parse(Definition, definition, where)
    data = args.data or Path("data/processed") / definition["dataset"]
    settings = {
        f"{where}methods.{name}.": parse(
            settings_of(checked.family, timed.algorithm), timed.settings,
            f"{where}methods.{name}.settings.",
        )
        for name, timed in checked.methods.items()
    }  # fmt: skip
    checks = module(checked.family, "checks")
    for wrong in checks.unlike({n: timed.settings for n, timed in checked.methods.items()}):
        raise UserError(f"{where}methods: {wrong}")
    about = prepared.describe(data, definition["dataset"], definition["data"])
    for at, of in settings.items():
        for wrong in checks.unfit(of, about, args.network):
            raise UserError(at + wrong)
    out = args.out or Path(f"results/measure/{name_of(definition)}.json")
    if there := kinds.check_place(out, kinds.MEASUREMENT, definition):
        say(there)
    from multistep.job import device  # imports torch, which --help and a mistake needn't wait for

    place = device.prepare(args.device, args.threads)
    environment = device.environment(place, args.threads)
    algorithms = [timed.algorithm for timed in checked.methods.values()]
    code = provenance.code(*provenance.measurement_modules(checked.family, algorithms))
    family = module(checked.family, "measure")
    measured, inputs = family.measure(definition, data, args.network, place)
    record = {"kind": "measure", "cell": definition, **measured, "environment": environment}
    results.write(out, record, {**inputs, "code": code})
