"""Work in as many processes as there are cores: a page takes seconds, and pages share nothing."""

import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

from multistep.files import UserError

Item = TypeVar("Item")
Made = TypeVar("Made")


def each(work: Callable[[Item], Made], items: Sequence[Item]) -> Callable[[], Iterator[Made]]:
    """Begin the work; what is returned gives what it made of each item, in their order.

    Each process is forked, so that it has all that is read here; only what it made comes back,
    pickled. Other systems than Linux don't bear a fork with the threads of numpy or torch: there
    the work is done when it is asked for. So it is with one core, or one thread asked for
    (OMP_NUM_THREADS, as Snakemake says a job's threads).

    Raises:
        UserError: when it is asked for: a process was stopped from outside.
        Exception: what `work` raised, with a note of where.

    """
    count = min(_cores(), len(items))
    if count < 2:
        return lambda: map(work, items)
    forks = multiprocessing.get_context("fork")
    ends = []
    for share in range(count):
        ours, theirs = forks.Pipe(duplex=False)
        process = forks.Process(target=_work, args=(work, items[share::count], theirs), daemon=True)
        with warnings.catch_warnings():  # Python 3.12 and later: of numpy's threads, unused there
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        theirs.close()
        ends.append((ours, process))

    def made() -> Iterator[Made]:
        shares = []
        for end, process in ends:
            try:
                share, error = end.recv()
            except EOFError:
                process.join()
                why = f"a process that drew pages was stopped ({process.exitcode})"
                raise UserError(f"{why}; OMP_NUM_THREADS=1 draws them in one") from None
            if error is not None:
                raise error
            process.join()
            shares.append(share)
        return (shares[i % count][i // count] for i in range(len(items)))

    return made


def _cores() -> int:
    if sys.platform != "linux":
        return 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0))
    return min(int(asked), cores) if asked.isdecimal() and int(asked) else cores


def _work(work: Callable[[Item], Made], items: Sequence[Item], end: Connection) -> None:
    """In a process of its own: what was made of all items, or the first error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent, when it ends, stops this
    made, error = list[Made](), None
    try:
        made = [work(item) for item in items]
    except Exception as raised:
        raised.add_note(traceback.format_exc())
        error = raised
    end.send((made, error))
