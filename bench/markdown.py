"""Pieces of the readable pages."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any


def table(header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    head = [str(h) for h in header]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *([str(c) for c in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def targets(rows: Iterable[tuple[str, float, float]]) -> str:
    """A section with a table of (target, measured, at most)."""
    lines = [
        (name, f"{limit:.2f}", f"{found:.3f}", "yes" if found <= limit else "**no**")
        for name, found, limit in rows
    ]
    return "## Targets\n\n" + table(["target", "at most", "measured", "met"], lines)


def spread(seconds: list[float]) -> str:
    """Median (smallest–largest)."""
    return f"{median(seconds):.3f} ({min(seconds):.3f}–{max(seconds):.3f})"


def mb(size: float) -> str:
    """Bytes in megabytes."""
    return f"{size / 1e6:.2f}"


def versions(env: dict[str, Any], others: dict[str, str] | None = None) -> str:
    """What ran, as the beginning of a sentence."""
    names = "".join(f"{name} {version}, " for name, version in (others or {}).items())
    return (
        f"torch {env['torch']}, {names}Python {env['python']}, {env['platform']}, float32, "
        f"TF32 {'on' if env['tf32'] else 'off'}"
    )


def code(env: dict[str, Any]) -> str:
    """Where the code was, as a sentence."""
    return f"Code: commit {env['commit']}{' with changes' if env['dirty'] else ''}."


def allocator(record: dict[str, Any]) -> str:
    """Which of glibc's settings held, as a sentence."""
    malloc = {
        "plain": "glibc's own allocator thresholds",
        "keeps freed memory": "glibc told to keep freed memory, as in training; this holds for "
        "all contenders, since it is a setting of the process",
    }[record["malloc"]]
    return f"Allocator: {malloc}."
