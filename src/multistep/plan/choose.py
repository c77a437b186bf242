"""Choose a setting by validation: of several candidates the one with the best validation accuracy.

Appendix F of the paper chooses the inner learning rate of miniImageNet so, for each method and
number of shots. A choice is a file of its own between the candidates' results and the cells that
use it, so that it is data of the workflow and no number typed by hand. Test classes play no part:
a candidate never meets them. Nothing here imports torch.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multistep import kinds, seal
from multistep.files import UserError, write_json
from multistep.job import results
from multistep.job.record import SCHEMA, name_of, same, short
from multistep.settings import json_of

# What validation accuracies are of: with another value of these they are no better or worse.
PROTOCOL = frozenset(
    {
        "ways", "shots", "queries", "rotate_test", "hold_out_validation", "validate_every",
        "validation_episodes",
    }
)  # fmt: skip
RULE = "highest validation accuracy, mean over the candidates' seeds; the smaller value of equals"


def protocol(setting: str) -> str | None:
    """What is said of a setting that candidates can't differ in and be compared."""
    if setting not in PROTOCOL:
        return None
    return f"validation accuracies of other {setting} can't be compared; choose another setting"


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


def check(path: Path, made: Mapping[str, Any], candidates: Sequence[dict[str, Any]]) -> None:
    """Raise UserError if what was chosen (of the file at `path`) isn't of these candidates."""
    right = choose(made["setting"], list(candidates))["candidates"]
    scores = [[c["validation_accuracy"] for c in of] for of in (made["candidates"], right)]
    if not same(*scores):
        made_of, there = map(short, scores)
        raise UserError(
            f"{path}: its candidates have {made_of}, but their results {there}; {seal.AGAIN}"
        )


def definition(setting: str, candidates: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a choice is, by the cells of its candidates: the setting, its values, the seeds, and all
    else of the cells, in the experiment that waits for it.

    Raises UserError if these aren't the candidates of one choice.
    """
    if wrong := protocol(setting):
        raise UserError(f"{setting}: {wrong}")
    for cell in candidates:
        if not isinstance(cell["settings"].get(setting), int | float):
            raise UserError(
                f"{setting}: no number in the settings of {name_of(cell)}; name another"
            )
    tried = [(cell["settings"][setting], cell["seed"]) for cell in candidates]
    values, seeds = sorted({value for value, _ in tried}), sorted({seed for _, seed in tried})
    cells = []
    for cell, (value, _) in zip(candidates, tried, strict=True):
        shared = {key: cell[key] for key in cell if key not in ("kind", "seed")}
        shared["experiment"] = cell["experiment"].removesuffix(f"-{setting}-{value:g}")
        shared["settings"] = {k: v for k, v in cell["settings"].items() if k != setting}
        cells.append(shared)
        for key, is_, was in results.unequal("cell", shared, cells[0]):
            raise UserError(f"{setting}: not candidates of one choice: {key} is {is_} and {was}")
    if len(tried) != len(set(tried)) or len(tried) != len(values) * len(seeds):
        raise UserError(f"{setting}: not each of {values} with each of the seeds {seeds}, once")
    return {"setting": setting, "values": values, "seeds": seeds, "cell": cells[0]}


def candidates_of(of: dict[str, Any]) -> dict[Path, dict[str, Any]]:
    """The cells of the candidates of a choice, by the paths of their results, of its `definition`:
    a command line takes that one, where a hundred cells would be too long for it.

    Raises KeyError, TypeError or ValueError if it is none.
    """
    found, shared = {}, of["cell"]
    for value in of["values"]:
        experiment = f"{shared['experiment']}-{of['setting']}-{value:g}"
        settings = {**shared["settings"], of["setting"]: value}
        for seed in of["seeds"]:
            own = {"experiment": experiment, "kind": "candidate", "seed": seed}
            path = f"results/{experiment}/{shared['dataset']}/{shared['method']}/{seed}.json"
            found[Path(path)] = {**shared, **own, "settings": settings}
    return found


def _mean(found: list[float | None]) -> float | None:
    """None if any seed diverged: such a value can't be relied on."""
    finite = [score for score in found if score is not None]
    return sum(finite) / len(finite) if len(finite) == len(found) else None


def add_parser(subparsers: Any) -> None:
    """`multistep choose`."""
    parser = subparsers.add_parser("choose", help="choose a setting", description=__doc__)
    parser.add_argument("--setting", required=True, help="the key, e.g. inner_lr")
    parser.add_argument("--out", type=Path, required=True, help="results/choices/.../<method>.json")
    parser.add_argument("--choice-of", help="what it has to be, as JSON (the plan's)")
    parser.add_argument("candidates", type=Path, nargs="+", help="results of candidates")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read the candidates, choose, write."""
    kinds.check_place(args.out, kinds.CHOICE)
    expected = _expected(args.choice_of, args.candidates)
    candidates, cells = [], []
    for path in args.candidates:
        right = expected.get(path)
        candidate = results.read(path, right)
        if not results.is_candidate(candidate):
            raise UserError(f"{path}: not the result of a candidate; give those of one choice")
        candidates.append(candidate)
        cells.append(dict(candidate["cell"] if right is None else right.cell))
    of = definition(args.setting, cells)
    kinds.check_place(args.out, kinds.CHOICE, of["cell"])
    choice = {"cell": of["cell"], "seeds": of["seeds"], **choose(args.setting, candidates)}
    made_from = {"candidates": [candidate["seal"] for candidate in candidates]}
    write_json(args.out, seal.seal({"schema": SCHEMA, **choice}, made_from))
    print(json.dumps(choice, indent=1))


def _expected(text: str | None, paths: list[Path]) -> dict[Path, results.Expected]:
    """What `--choice-of` says of each file; nothing where it isn't given."""
    if text is None:
        return {}
    try:
        cells = candidates_of(json_of("--choice-of", text))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"--choice-of: not what a choice is ({error!r})") from None
    if missing := sorted(cells.keys() ^ set(paths)):
        raise UserError(f"--choice-of: {missing[0]} isn't in both, the choice and the files")
    return {path: results.Expected(cell) for path, cell in cells.items()}
