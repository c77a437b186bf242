"""Command line of the benchmark: measures, checks, writes `bench/results/<device>.{json,md}`."""

from __future__ import annotations

import argparse
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

# The peers' own sources and their use of old interfaces warn; that is theirs to mend.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from bench.peers import PEERS

from bench import agreement, cuda, memory, ours, report, timing
from bench.problem import Contender, Problem, build, stand_in_images
from multistep import device
from multistep.fewshot import meta
from multistep.files import UserError, write_json, write_text

EXACT: dict[str, Contender] = {
    **PEERS,
    **ours.REFERENCE,
    "ours, exact": ours.CONTENDERS["ours, exact"],
    "ours, exact, recompute": ours.CONTENDERS["ours, exact, recompute"],
}
WITH_PEERS = ["5way_1shot", "20way_1shot"]
OURS_ONLY = ["5way_5shot", "20way_5shot"]


def main() -> None:
    """Measure everything that the device allows and write the record and its page."""
    args = _arguments()
    if args.plain_malloc and args.device == "cpu":
        torch.set_num_threads(args.threads)
        place = torch.device("cpu")
    else:
        place = device.prepare(args.device, args.threads)
    images = stand_in_images().to(place)
    problems = {e: build(e, images, args.tasks) for e in [*WITH_PEERS, *OURS_ONLY]}
    record: dict[str, Any] = {
        "schema": 1,
        "kind": "bench",
        "rounds": args.rounds,
        "malloc": "plain" if args.plain_malloc else "keeps freed memory",
        "environment": device.environment(
            place, args.threads, {"dataset_digest": "stand-in images of the benchmark"}
        ),
        "peers": {name: version(name) for name in PEERS},
        "agreement": {e: agreement.check(problems[e], EXACT) for e in WITH_PEERS},
        "sizes": {e: _sizes(p) for e, p in problems.items()},
        "times": {
            e: timing.contenders(p, _contestants(e), args.rounds) for e, p in problems.items()
        },
    }
    if place.type == "cuda":
        problem = problems["5way_1shot"]
        record["cuda"] = {
            "rates": cuda.rates(problem, args.iterations),
            "agreement": cuda.agreement(problem, args.iterations),
        }
    else:
        record |= {
            "saved": {e: _saved(p) for e, p in problems.items()},
            "live": {e: _live(problems[e]) for e in WITH_PEERS},
            "recompute": _recompute(problems["5way_1shot"]),
            "sampling": timing.sampling(problems["5way_1shot"], cuda.METHODS, args.rounds),
            "loading": timing.loading(images),
        }
    name = place.type + ("-plain-malloc" if args.plain_malloc else "")
    write_json(args.out / f"{name}.json", record)
    page = report.page(record)
    write_text(args.out / f"{name}.md", page)
    print(page)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds after the warm-up")
    parser.add_argument("--tasks", type=int, help="tasks in a meta-batch (default: the paper's)")
    parser.add_argument("--iterations", type=int, default=300, help="captured ones, on CUDA")
    parser.add_argument("--plain-malloc", action="store_true", help="glibc's own thresholds")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    if args.rounds < 1 or args.threads < 1 or args.iterations < 1:
        parser.error("--rounds, --threads and --iterations are at least 1")
    return args


def _contestants(experiment: str) -> dict[str, Contender]:
    return {**(EXACT if experiment in WITH_PEERS else {}), **ours.CONTENDERS}


def _sizes(problem: Problem) -> dict[str, int]:
    s = problem.s
    chunk = meta.chunk_size(s, problem.theta.adapted.device) or s.meta_batch
    return {"tasks": s.meta_batch, "queries": s.queries, "steps": s.inner_steps, "chunk": chunk}


def _saved(problem: Problem) -> dict[str, int]:
    """Saved bytes of one task."""
    found = {name: memory.engine_bytes(problem, name) for name in cuda.METHODS}
    if problem.name in WITH_PEERS:
        found |= {name: memory.saved_bytes(peer, problem) for name, peer in PEERS.items()}
    return found


def _live(problem: Problem) -> dict[str, int]:
    return {n: memory.live_bytes(c, problem) for n, c in _contestants(problem.name).items()}


def _recompute(problem: Problem) -> list[dict[str, int]]:
    """What the recompute mode keeps for one task, over steps and windows."""
    shapes = [(1, 1), (2, 1), (4, 1), (8, 1), (8, 2), (8, 4), (8, 8), (16, 1), (16, 16)]
    return [{"steps": t, "window": n} | memory.recompute_bytes(problem, t, n) for t, n in shapes]


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
