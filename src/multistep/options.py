"""Numbers and paths on command lines, refused with a reason before anything runs."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

EMPTY = "it is empty; is a variable of the shell unset?"


class Parser(argparse.ArgumentParser):
    """A command line, each `type=Path` of which refuses an empty text, that an unset variable of
    the shell leaves: it would mean the current folder.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.register("type", Path, lambda text: Path(filled(text)))


def filled(text: str) -> str:
    """A text that isn't empty."""
    if not text:
        raise argparse.ArgumentTypeError(EMPTY)
    return text


def whole(least: int = 1, why: str = "") -> Callable[[str], int]:
    """What reads a whole number from `least` on."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}{why and f': {why}'}")
        return number

    return read


def positive(text: str, *, zero: bool = False) -> float:
    """A finite number above 0; with `zero`, from 0 on."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not (0 < number < math.inf or (zero and number == 0)):
        bound = "from 0 on" if zero else "above 0"
        raise argparse.ArgumentTypeError(f"{text} is no finite number {bound}")
    return number


def seconds(text: str) -> float:
    """A finite number from 0 on."""
    return positive(text, zero=True)
