"""Time and memory of the methods of one experiment on one dataset, side by side.

`multistep measure` is what the rule `measure` calls. All methods are interleaved in one process,
round by round after a warm-up, so that whatever else the machine does falls on all of them alike.
What is timed belongs to the family: `multistep.fewshot.measure`, `multistep.transfer.measure`.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

from multistep.files import UserError
from multistep.job import device, results
from multistep.job.settings import Measure
from multistep.plan.families import FAMILIES, package


def run_measurement(
    definition: dict[str, Any],
    data: Path,
    network: Path | None,
    out: Path,
    where: str,
    threads: int,
) -> None:
    """Measure every method of one experiment on one dataset and write the result."""
    place = device.prepare(where, threads)
    family = importlib.import_module(f"{package(definition['family'])}.measure")
    measured: dict[str, Any] = family.measure(definition, data, network, place)
    environment = device.environment(place, threads, measured.pop("digests"))
    record = {
        "schema": results.SCHEMA,
        "kind": "measure",
        "cell": definition,
        **measured,
        "environment": environment,
    }
    results.write(out, record)


def add_parser(subparsers: Any) -> None:
    """`multistep measure`."""
    parser = subparsers.add_parser(
        "measure", help="time and memory of one experiment's methods", description=__doc__
    )
    parser.add_argument("--definition", required=True, help="the measurement as JSON (the plan's)")
    parser.add_argument("--data", type=Path, required=True, help="prepared dataset")
    parser.add_argument("--network", type=Path, help="source network (data/networks/<source>)")
    parser.add_argument("--out", type=Path, required=True, help="results/measure/.../....json")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Parse the definition and measure."""
    try:
        definition = json.loads(args.definition)
        for entry in definition["methods"].values():
            FAMILIES[definition["family"]].model_validate(entry["settings"])
        Measure.model_validate(definition["measure"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"--definition is not the JSON of a measurement ({error!r})") from None
    run_measurement(definition, args.data, args.network, args.out, args.device, args.threads)
