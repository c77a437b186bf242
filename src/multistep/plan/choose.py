"""Choose a setting by validation: of several candidates the one with the best validation accuracy.

Appendix F of the paper chooses the inner learning rate of miniImageNet so, for each method and
number of shots. A choice is a file of its own between the candidates' results and the cells that
use it, so that it is data of the workflow and no number typed by hand. Test classes play no part:
a candidate never meets them. Nothing here imports torch.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from multistep.files import UserError, write_json
from multistep.job import results

RULE = "highest validation accuracy, mean over the candidates' seeds; the smaller value of equals"


def choose(setting: str, candidates: list[dict[str, Any]]) -> dict[str, Any]:
    """The choice among results of candidates; one that diverged is worse than any other."""
    scores: dict[float, list[float | None]] = {}
    for candidate in candidates:
        best = candidate["metrics"]["best"] if not candidate["metrics"]["diverged"] else None
        value = candidate["cell"]["settings"][setting]
        scores.setdefault(value, []).append(best and best["validation_accuracy"])
    means = {value: _mean(found) for value, found in sorted(scores.items())}
    finite = {value: mean for value, mean in means.items() if mean is not None}
    if not finite:
        raise UserError(
            f"{setting}: every candidate of {', '.join(map(str, means))} diverged; put smaller "
            "values into `choose` of the experiment"
        )
    chosen = max(finite, key=lambda value: finite[value])  # the first, so the smallest, of equals
    return {
        "setting": setting,
        "value": chosen,
        "rule": RULE,
        "candidates": [
            {"value": value, "validation_accuracy": mean, "seeds": len(scores[value])}
            for value, mean in means.items()
        ],
    }


def _mean(found: list[float | None]) -> float | None:
    """None if any seed diverged: such a value can't be relied on."""
    finite = [score for score in found if score is not None]
    return sum(finite) / len(finite) if len(finite) == len(found) else None


def add_parser(subparsers: Any) -> None:
    """`multistep choose`."""
    parser = subparsers.add_parser("choose", help="choose a setting", description=__doc__)
    parser.add_argument("--setting", required=True, help="the key, e.g. inner_lr")
    parser.add_argument("--out", type=Path, required=True, help="results/choices/.../<method>.json")
    parser.add_argument("candidates", type=Path, nargs="+", help="results of candidates")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read the candidates, choose, write."""
    candidates = [results.read(path) for path in args.candidates]
    for path, candidate in zip(args.candidates, candidates, strict=True):
        if not results.is_candidate(candidate):
            raise UserError(f"{path}: not the result of a candidate; give those of one choice")
    choice = choose(args.setting, candidates)
    write_json(args.out, choice)
    print(json.dumps(choice, indent=1))
