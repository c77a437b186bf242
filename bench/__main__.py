"""Command line of the benchmark: measures, checks, and writes for each of its parts
`bench/results/<part><device>.{json,md}`; with --minutes see `bench.minutes`.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from bench import report
from bench.markdown import targets
from bench.problem import ROOT
from multistep import options
from multistep.files import UserError, write_json, write_text
from multistep.job import device

# And how the names of their files begin.
PARTS = {"few-shot": "", "methods": "methods-", "transfer": "transfer-", "builds": "builds-"}
PARTS["workflow"] = "workflow-"
ON_CPU = ("builds", "workflow")


def main() -> None:
    """Measure everything that the device allows and write each part's record and page."""
    args = _arguments()
    if args.minutes:
        from bench.minutes.cells import SCALES, Scale
        from bench.minutes.run import Minutes

        project = args.project or (ROOT if args.device == "cuda" else ROOT / "scratch" / "bench")
        scale = Scale(project, SCALES[args.device], args.source)
        # What the device is checked against is computed on the CPU.
        threads = args.threads or (min(8, os.cpu_count() or 1) if args.device == "cuda" else 1)
        run = Minutes(args.device, args.minutes, args.out, scale, threads, args.only)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # a cell saves
        run.run()
        print(run.file.with_suffix(".md").read_text(encoding="utf-8"))
        return
    args.threads = args.threads or 1
    if args.plain_malloc and args.device == "cpu":
        torch.set_num_threads(args.threads)
        place = torch.device("cpu")
    else:
        place = device.prepare(args.device, args.threads)
    all_parts = [part for part in PARTS if part not in ON_CPU or place.type == "cpu"]
    met: list[tuple[str, float, float]] = []
    for part in [args.part] if args.part else all_parts:
        record = _record(part, place, args)
        name = PARTS[part] + place.type + ("-plain-malloc" if args.plain_malloc else "")
        write_json(args.out / f"{name}.json", record)
        page = report.page(record)
        write_text(args.out / f"{name}.md", page)
        print(page)
        met += report.rows(record)
    if not args.part:
        print(f"# All of them\n\n{targets(met)}")


def _record(part: str, place: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one part. Its code is imported here: only few-shot needs the other libraries."""
    load = os.getloadavg()[0]
    data = "stand-in images of the benchmark"
    if part == "few-shot":
        from bench import fewshot

        found = fewshot.measure(place, args.rounds, args.tasks)
    elif part == "methods":
        from bench import methods

        found = methods.measure(place, args.rounds, args.tasks)
    elif part == "builds":
        from bench import builds

        found = builds.measure(place, args.rounds, args.tasks)
    elif part == "workflow":
        from bench import plan

        data, found = "none; the demo's are drawn", plan.measure()
    else:
        from bench import transfer

        data = "random images"
        found = transfer.measure(place, args.rounds, args.batch)
    return {
        "schema": 1,
        "rounds": args.rounds,
        "malloc": "plain" if args.plain_malloc else "keeps freed memory",
        "load": {"cores": os.cpu_count(), "before": load, "after": os.getloadavg()[0]},
        "environment": {**device.environment(place, args.threads), "dataset_digest": data},
        **found,
    }


def _arguments() -> argparse.Namespace:
    parser = options.Parser(prog="python -m bench", description=__doc__)
    parser.add_argument("--part", choices=PARTS, help="one part (default: all)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--threads", type=options.whole(), help="CPU threads (default 1; --minutes on CUDA: 8)"
    )
    parser.add_argument(
        "--rounds", type=options.whole(), default=5, help="rounds after the warm-up"
    )
    parser.add_argument(
        "--tasks",
        type=options.whole(),
        help="tasks in a meta-batch (default: the paper's; `methods` on a CPU: fewer)",
    )
    parser.add_argument(
        "--batch",
        type=options.whole(),
        help="images in a mini-batch (default: 16 on a CPU, else the paper's)",
    )
    parser.add_argument("--plain-malloc", action="store_true", help="glibc's own thresholds")
    minutes = parser.add_argument_group("a device in a few minutes")
    minutes.add_argument(
        "--minutes", type=options.positive, help="check, measure, then train cells"
    )
    minutes.add_argument("--only", default="", help="regular expression of the steps to run")
    minutes.add_argument("--project", type=Path, help="where cells are trained (default: here)")
    minutes.add_argument("--source", type=Path, help="folder that holds Omniglot's archives")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    try:
        re.compile(args.only)
    except re.error as error:
        parser.error(f"--only {args.only}: no regular expression ({error})")
    if args.batch is not None and args.batch < 2:
        parser.error("--batch is at least 2: batch norm needs two images")
    return args


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
