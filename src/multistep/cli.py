"""The command line: `multistep data|train|measure|report|...`, exactly what the rules call."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from multistep import __version__
from multistep.files import UserError
from multistep.plan import cells, params

# Imported when used: `multistep report` needs no torch, `multistep data` no matplotlib.
SUBCOMMANDS = {
    "data": "multistep.data.cli",
    "pretrain": "multistep.transfer.pretrain",
    "choose": "multistep.plan.choose",
    "train": "multistep.job.train",
    "measure": "multistep.job.measure",
    "report": "multistep.pages.cli",
}


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; a `UserError` is one line on standard error and exit code 2."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="multistep", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    named = next((a for a in arguments if not a.startswith("-")), None)
    for name, module in SUBCOMMANDS.items():
        if named in (name, None):
            importlib.import_module(module).add_parser(subparsers)
    if named in ("params", None):
        _add_params(subparsers)
    if named is not None and named not in (*SUBCOMMANDS, "params"):
        parser.error(f"no command {named!r}; choose from {', '.join([*SUBCOMMANDS, 'params'])}")
    args = parser.parse_args(arguments)
    try:
        args.run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, no permission, a file where a folder should be
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or error
        print(f"error: {where}{reason}; mend it or make room, and run again", file=sys.stderr)
        return 2
    return 0


def _add_params(subparsers: Any) -> None:
    parser = subparsers.add_parser("params", help="check params.yaml and list the plan of cells")
    parser.add_argument("files", nargs="*", type=Path, default=[Path("params.yaml")])
    parser.set_defaults(run=_run_params)


def _run_params(args: argparse.Namespace) -> None:
    plan = cells.plan(params.load(*args.files))
    for cell in plan:
        print(cell.path, cell.json, sep="\t")
    print(f"{len(plan)} cells", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
