"""The few-shot part: meta-gradients beside those of other libraries."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import Any

import torch

# The peers' own sources and their use of old interfaces warn; that is theirs to mend.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from bench.peers import PEERS

from bench import agreement, memory, ours, timing
from bench.problem import Contender, Problem, build, stand_in_images

EXACT: dict[str, Contender] = {
    **PEERS,
    **ours.REFERENCE,
    "ours, exact": ours.CONTENDERS["ours, exact"],
    "ours, exact, recompute": ours.CONTENDERS["ours, exact, recompute"],
}
METHODS = ["maml", "multistep2", "multistep4", "multistep8", "fomaml"]
WITH_PEERS = ["5way_1shot", "20way_1shot"]
OURS_ONLY = ["5way_5shot", "20way_5shot"]


def measure(place: torch.device, rounds: int, tasks: int | None) -> dict[str, Any]:
    """All that the device allows. `tasks` in a meta-batch (None: the paper's)."""
    images = stand_in_images().to(place)
    problems = {e: build(e, images, tasks) for e in [*WITH_PEERS, *OURS_ONLY]}
    found: dict[str, Any] = {
        "kind": "bench",
        "peers": {name: version(name) for name in PEERS},
        "agreement": {e: agreement.check(problems[e], EXACT) for e in WITH_PEERS},
        "sizes": {e: _sizes(p) for e, p in problems.items()},
        "times": {e: timing.contenders(p, _contestants(e), rounds) for e, p in problems.items()},
    }
    if place.type == "cpu":
        found |= {
            "saved": {e: _saved(p) for e, p in problems.items()},
            "live": {e: _live(problems[e]) for e in WITH_PEERS},
            "recompute": _recompute(problems["5way_1shot"]),
            "sampling": timing.sampling(problems["5way_1shot"], METHODS, rounds),
            "loading": timing.loading(images),
        }
    return found


def _contestants(experiment: str) -> dict[str, Contender]:
    return {**(EXACT if experiment in WITH_PEERS else {}), **ours.CONTENDERS}


def _sizes(problem: Problem) -> dict[str, int]:
    s = problem.s
    chunk = ours.chunk(problem)
    return {"tasks": s.meta_batch, "queries": s.queries, "steps": s.inner_steps, "chunk": chunk}


def _saved(problem: Problem) -> dict[str, int]:
    """Saved bytes of one task."""
    found = {name: memory.engine_bytes(problem, name) for name in METHODS}
    if problem.name in WITH_PEERS:
        found |= {name: memory.saved_bytes(peer, problem) for name, peer in PEERS.items()}
    return found


def _live(problem: Problem) -> dict[str, int]:
    return {n: memory.live_bytes(c, problem) for n, c in _contestants(problem.name).items()}


def _recompute(problem: Problem) -> list[dict[str, int]]:
    """What the recompute mode keeps for one task, over steps and windows."""
    shapes = [(1, 1), (2, 1), (4, 1), (8, 1), (8, 2), (8, 4), (8, 8), (16, 1), (16, 16)]
    return [{"steps": t, "window": n} | memory.recompute_bytes(problem, t, n) for t, n in shapes]
