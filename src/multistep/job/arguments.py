"""The options that the commands of all jobs share, by the same names and with the same defaults."""

from __future__ import annotations

import argparse
from pathlib import Path

from multistep import options


def add(
    parser: argparse.ArgumentParser, out: str, checkpoint: str | None = None, *,
    network: bool = True,
) -> None:  # fmt: skip
    """Add them. `out`, `checkpoint`: where what is made and its state lie unless given; jobs that
    go on after a stop have a checkpoint, those that use a source network a `network`.
    """
    parser.add_argument("--data", type=Path, help="prepared dataset (data/processed/<dataset>)")
    if network:
        parser.add_argument("--network", type=Path, help="source network (data/networks/<source>)")
    parser.add_argument("--out", type=Path, help=f"what is made ({out})")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    add = parser.add_argument
    add("--threads", type=options.whole(), default=1, help="CPU threads (default 1)")
    if checkpoint is not None:
        add("--checkpoint", "--scratch", type=Path, help=f"state to go on from ({checkpoint})")
        seconds = "between checkpoints (default 60)"
        add("--checkpoint-seconds", type=options.seconds, default=60, help=seconds)
