"""Progress of long work, on standard error: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


def say(message: str) -> None:
    """One line for the person or the log, at once."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def progress(
    title: str, total: int | None, unit: str, done: int = 0
) -> Iterator[Callable[[int], object]]:
    """Yield a function that is told how much was just done, counted in `unit` ("B": bytes).

    A log file gets a plain line now and then and one at the end, since a bar's carriage returns
    make a log unreadable.
    """
    if sys.stderr.isatty():
        scaled = unit == "B"
        with tqdm(total=total, initial=done, unit=unit, unit_scale=scaled, desc=title) as bar:
            yield bar.update
        return

    begun, before = time.monotonic(), done
    said = begun

    def count(amount: int) -> None:
        nonlocal done, said
        done += amount
        if (now := time.monotonic()) - said >= SECONDS_BETWEEN_LINES:
            said = now
            left = ""
            if total and done > before:
                seconds = (now - begun) / (done - before) * (total - done)
                left = f", {datetime.timedelta(seconds=round(seconds))} left"
            say(f"{title}: {_amount(done, total, unit)}{left}")

    yield count
    say(f"{title}: {_amount(done, total, unit)}")


def _amount(done: int, total: int | None, unit: str) -> str:
    if unit == "B":
        return f"{done / 1e6:.1f} MB" + (f" of {total / 1e6:.1f} MB" if total else "")
    return f"{done:,}" + (f" of {total:,}" if total else "") + f" {unit}"
