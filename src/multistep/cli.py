"""The command line: `multistep data|train|measure|report|...`, exactly what the rules call."""

from __future__ import annotations

import gc
import os
import signal
import sys

from multistep import __version__

TYPE_CHECKING = False  # what is imported here can't be stopped in one line; typing takes a while
if TYPE_CHECKING:
    import argparse
    from types import FrameType

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
    code 2, whichever command it is; only a mistake of this program has a traceback. A process of
    its own (without `argv`) that is asked to stop says one line too, and ends with 128 + the
    signal's number.
    """
    noted: list[int] = []
    watched = _watch(noted) if argv is None else []
    if argv is None:
        _open_streams()
        _tell_other_clone()
        # What is imported stays: looking through it for cycles as it comes, and once more at the
        # end, is a quarter of the time that torch takes to come and go.
        gc.set_threshold(100_000, 20, 20)
    try:
        _run(sys.argv[1:] if argv is None else argv)
    except BaseException as error:
        if noted or isinstance(error, KeyboardInterrupt):  # or what a library has made of it
            print(_STOPPED, file=sys.stderr)
            return 128 + (noted or [signal.SIGINT])[-1]
        print(f"error: {_told(error)}", file=sys.stderr)
        return 2
    finally:
        for number in watched:  # what is left can't be undone: end without words
            signal.signal(number, signal.SIG_DFL)
        if argv is None and "triton" not in sys.modules:  # which tells what is left at the end
            gc.freeze()
    return 0


def _open_streams() -> None:
    """Where a standard stream was closed (`>&-`), what is said there goes nowhere: else Python says
    it in another one, and the first file that is opened takes what libraries say.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="backslashreplace")  # what a terminal lacks


def _tell_other_clone() -> None:
    """Say so where the current folder lies in another clone than the one whose code runs: with one
    environment for several (a worktree) `multistep` is that of the clone it was made in.
    """
    own = os.path.dirname(os.path.abspath(__file__))
    try:
        folder = os.getcwd()
        while not os.path.isfile(cli := os.path.join(folder, "src", "multistep", "cli.py")):
            if folder == (folder := os.path.dirname(folder)):
                return
        if not os.path.samefile(cli, __file__):
            print(
                f"note: this runs the code in {own}, not that of this clone; "
                f"PYTHONPATH={os.path.join(folder, 'src')} before the command runs the latter",
                file=sys.stderr,
            )
    except OSError:  # a folder that is gone, or can't be read
        return


_STOPPED = "stopped; the same command goes on"


def _watch(noted: list[int]) -> list[int]:
    """Note what asks this process to stop from now on, and raise KeyboardInterrupt: before any
    library is imported. In the middle of an import leave at once: numpy takes what is raised then
    for a failure of its own. What is ignored stays so (`nohup`). Returns the signals' numbers.
    """
    process = os.getpid()

    def note(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # forked off, and no command
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        noted.append(number)
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                os.write(2, f"{_STOPPED}\n".encode())
                os._exit(128 + number)
            frame = frame.f_back
        raise KeyboardInterrupt

    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    found: list[int] = [n for n in stops if signal.getsignal(n) != signal.SIG_IGN]
    for number in found:
        signal.signal(number, note)
    return found


def _run(arguments: list[str]) -> None:
    if arguments[:1] == ["train"] and not [*arguments, "-", "-"][1].startswith("-"):
        from multistep.plan import by_path

        # what follows the path stands over what the plan says
        arguments = ["train", *by_path.train(arguments[1]), *arguments[2:]]
    named = next((a for a in arguments if not a.startswith("-")), None)
    try:
        args = parser_of(named).parse_args(arguments)
        args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # who read the output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(error: BaseException) -> str:
    """What to tell of an error that its user or machine can mend; others are raised again."""
    from multistep.files import UserError

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):  # a full disk, no permission, a file where a folder should be
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}; mend it or make room, and run again"
    if isinstance(error, UnicodeDecodeError):
        return f"what was read is not UTF-8 text ({error}); get the file again"
    if isinstance(error, MemoryError) or (
        isinstance(error, (ImportError, RuntimeError)) and any(x in str(error) for x in _NO_MEMORY)
    ):
        return (
            "there is not enough memory; give the job more (fewer --cores share it; on a cluster "
            "mem_mb), or make it smaller (scheme: replay, a smaller meta_batch)"
        )
    if isinstance(error, RuntimeError) and "torch" in sys.modules:  # else no GPU was used
        from multistep.job import device

        if found := device.told(error):
            return str(found)
    raise error


# What torch and the loader of libraries raise besides MemoryError.
_NO_MEMORY = ("can't allocate memory", "failed to map segment", "std::bad_alloc")


def parser_of(named: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands, or of one."""
    import importlib

    from multistep.options import Parser

    parser = Parser(prog="multistep", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    if named is not None and named not in SUBCOMMANDS:
        parser.error(f"no command {named!r}; choose from {', '.join(SUBCOMMANDS)}")
    for module in dict.fromkeys([SUBCOMMANDS[named]] if named else SUBCOMMANDS.values()):
        importlib.import_module(module).add_parser(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
