"""The command line: `multistep data|train|measure|report|...`, exactly what the rules call."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from pathlib import Path

from multistep import __version__
from multistep.files import UserError

# Imported when used: `multistep report` needs no torch, `multistep data` no matplotlib.
SUBCOMMANDS = {
    "plan": "multistep.plan.cli",
    "params": "multistep.plan.cli",
    "status": "multistep.plan.status",
    "init": "multistep.plan.init",
    "data": "multistep.data.cli",
    "pretrain": "multistep.transfer.pretrain",
    "choose": "multistep.plan.choose",
    "train": "multistep.job.train",
    "measure": "multistep.job.measure",
    "evaluate": "multistep.job.evaluate",
    "report": "multistep.pages.cli",
    "compare": "multistep.pages.compare",
    "verify": "multistep.verify",
    "completion": "multistep.completion",
}


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand. What its user or machine can mend is one line on standard error and exit
    code 2, whichever command it is; only a mistake of this program has a traceback.
    """
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["train"] and not [*arguments, "-", "-"][1].startswith("-"):
        from multistep.plan import by_path

        try:  # what follows the path stands over what the plan says
            arguments = ["train", *by_path.train(Path(arguments[1])), *arguments[2:]]
        except UserError as error:
            return _failed(str(error))
    try:
        named = next((a for a in arguments if not a.startswith("-")), None)
        args = parser_of(named).parse_args(arguments)
        args.run(args)
        sys.stdout.flush()
    except UserError as error:
        return _failed(str(error))
    except BrokenPipeError:  # who read the output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a full disk, no permission, a file where a folder should be
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or error
        return _failed(f"{where}{reason}; mend it or make room, and run again")
    except UnicodeDecodeError as error:
        return _failed(f"what was read is not UTF-8 text ({error}); get the file again")
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 128 + signal.SIGINT
    except (MemoryError, ImportError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(x in str(error) for x in _NO_MEMORY):
            raise
        return _failed(
            "there is not enough memory; give the job more (fewer --cores share it; on a cluster "
            "mem_mb), or make it smaller (scheme: replay, a smaller meta_batch)"
        )
    return 0


# What torch and the loader of libraries raise besides MemoryError.
_NO_MEMORY = ("can't allocate memory", "failed to map segment", "std::bad_alloc")


def parser_of(named: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands, or of one."""
    parser = argparse.ArgumentParser(prog="multistep", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    if named is not None and named not in SUBCOMMANDS:
        parser.error(f"no command {named!r}; choose from {', '.join(SUBCOMMANDS)}")
    for module in dict.fromkeys([SUBCOMMANDS[named]] if named else SUBCOMMANDS.values()):
        importlib.import_module(module).add_parser(subparsers)
    return parser


def _failed(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
