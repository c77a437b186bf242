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
    option = parser.add_argument
    option("--data", type=Path, help="prepared dataset (data/processed/<dataset>)")
    if network:
        option("--network", type=Path, help="source network (data/networks/<source>)")
    option("--out", type=Path, help=f"what is made ({out})")
    option("--device", default="cuda", choices=["cuda", "cpu"])
    option("--threads", type=options.whole(), default=1, help="CPU threads (default 1)")
    if checkpoint is not None:
        option("--checkpoint", "--scratch", type=Path, help=f"state to go on from ({checkpoint})")
        seconds = "between checkpoints (default 60)"
        option("--checkpoint-seconds", type=options.seconds, default=60, help=seconds)
