"""`multistep completion bash|zsh|...`: what makes a shell complete the words of `multistep`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import shtab


def add_parser(subparsers: Any) -> None:
    """Add `completion` to the command line of `multistep`."""
    parser = subparsers.add_parser(
        "completion", help="a script that completes these words", description=__doc__
    )
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the script; what takes a path is completed by the names of files."""
    from multistep.cli import parser_of

    whole = parser_of()
    commands = next(a for a in whole._actions if isinstance(a, argparse._SubParsersAction))
    # `train RESULT.json` is read before its parser, which has what the plan says of it.
    commands.choices["train"].add_argument("result", type=Path)
    parsers = [whole]
    for parser in parsers:  # it grows by those of subcommands
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
            elif action.type is Path or action.dest in ("a", "b"):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(whole, args.shell))
