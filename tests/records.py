"""A valid record of every kind, sealed, in the form that jobs write it; all made up."""

from __future__ import annotations

import copy
import fnmatch
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from multistep import seal, stats
from multistep.files import UserError, write_json

MADE_FROM = {"dataset": "d" * 64, "network": None, "choice": None, "code": "c" * 64}
ENVIRONMENT = {
    "python": "3.12.1",
    "torch": "2.12.0",
    "numpy": "2.3.0",
    "cuda": None,
    "device": "cpu",
    "cpu": "Imaginary CPU",
    "threads": 1,
    "tf32": False,
    "platform": "Linux",
    "commit": None,
    "dirty": None,
}
# What a record of the benchmark says of its machine.
MACHINE: dict[str, Any] = {
    "environment": ENVIRONMENT | {"commit": "0", "dirty": False},
    "malloc": "plain",
    "load": {"cores": 2, "before": 0.0, "after": 1.0},
}


def timing(iterations: int, entries: int) -> dict[str, Any]:
    return {
        "train_seconds": 10.0,
        "process_seconds": 9.5,
        "seconds_per_iteration": 10.0 / iterations,
        "history_seconds": [10.0 * (i + 1) / entries for i in range(entries)],
        "history_process_seconds": [9.5 * (i + 1) / entries for i in range(entries)],
        "peak_bytes": 10**8,
        "loading_seconds": 0.5,
        "evaluation_seconds": 1.5,
    }


def cell(family: str, settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "scale": "tiny",
        "family": family,
        "experiment": "5way_1shot",
        "dataset": "patterns",
        "method": "maml",
        "algorithm": "multistep",
        "seed": 0,
        "data": {"size": 28},
        "settings": settings,
        **more,
    }


def sealed(record: dict[str, Any], **made_from: Any) -> dict[str, Any]:
    """Sealed once more, after a change."""
    body = {"schema": 2, "environment": ENVIRONMENT, **record}
    return seal.seal(body, {**MADE_FROM, **record.get("made_from", {}), **made_from})


def few_shot(**changes: Any) -> dict[str, Any]:
    """Five iterations, validated at 4 and 5; the iterate of 4 is the one that is tested."""
    episodes = [40.0, 60.0, 60.000002384185791]
    mean = stats.over_episodes(episodes)
    settings = {
        "ways": 5, "queries": 2, "meta_batch": 4, "iterations": 5, "log_every": 2, "window": 2,
        "validate_every": 4, "hold_out_validation": True, "selection": "best", "test_episodes": 3,
    }  # fmt: skip
    history = [
        {"iteration": i, "tasks": 4 * i, "train_loss": 1.5, "train_accuracy": 50.0,
         "meta_gradient_norm": 0.5, "validation_accuracy": v, "validation_ci95": v and 2.0}
        for i, v in ((2, None), (4, 55.0), (5, 45.0))
    ]  # fmt: skip
    metrics = {
        "test_accuracy": mean.mean,
        "test_ci95": mean.half_width,
        "test_episodes": 3,
        "episode_accuracies": episodes,
        "iterations": 5,
        "exact_adaptation": {"test_accuracy": 50.0, "test_ci95": 5.0},
        "best": {"iteration": 4, "validation_accuracy": 55.0, "validation_ci95": 2.0},
        "last": {"test_accuracy": 48.0, "test_ci95": 6.0},
    }
    record = {
        "cell": cell("few_shot", settings),
        "metrics": metrics,
        "history": history,
        "timing": timing(5, 3),
        "parameters": {"file": "0.safetensors", "digest": "e" * 64},
    }
    return sealed(record | changes)


CHOICE = {
    "setting": "inner_lr",
    "value": 0.1,
    "rule": "the best",
    "candidates": [{"value": 0.1, "validation_accuracy": 50.0, "seeds": 1}],
}


def chosen() -> dict[str, Any]:
    """With a setting that a choice put in."""
    own = few_shot()["cell"]
    settings = {**own["settings"], "inner_lr": CHOICE["value"]}
    return sealed(few_shot(cell={**own, "settings": settings, "chosen": CHOICE}), choice="b" * 64)


def candidate() -> dict[str, Any]:
    record = few_shot()
    settings = {**record["cell"]["settings"], "selection": "last", "inner_lr": 0.4}
    return sealed(
        {
            **record,
            "cell": cell("few_shot", settings, kind="candidate"),
            "metrics": {"best": record["metrics"]["best"], "diverged": None},
        }
    )


def transfer() -> dict[str, Any]:
    settings = {
        "batch_size": 8, "epochs": 3, "lr": 0.1, "schedule_offset": 0,
        "source_taps": [0, 1], "target_taps": [0],
    }  # fmt: skip
    accuracies = [(40.0, 30.0), (60.0, 50.0), (60.0, 70.0)]  # validation, test
    rates = [0.1, 0.07500000000000001, 0.025000000000000012]
    history = [
        {"epoch": e, "iterations": 3 * (e + 1), "lr": rates[e], "train_loss": 1.0,
         "train_accuracy": 50.0, "validation_accuracy": v, "test_accuracy": t,
         "transfer_loss": 0.5, "meta_loss": 0.6, "meta_gradient_norm": 0.1,
         "meta_decay_norm": 0.001, "lambda_mean": [1.0, 0.5], "lambda_dead": [0.0, 0.5],
         "masked": 0, "drift": [[3 * e + 2, 0.5, 0.25], [3 * e + 3, 0.5, 0.25]]}
        for e, (v, t) in enumerate(accuracies)
    ]  # fmt: skip
    metrics = {
        "test_accuracy": 50.0,
        "validation_accuracy": 60.0,
        "best_epoch": 1,
        "last_test_accuracy": 70.0,
        "epochs": 3,
        "train_images": 20,
        "test_images": 10,
    }
    record = {
        "cell": cell("transfer", settings),
        "metrics": metrics,
        "history": history,
        "timing": timing(9, 3),
        "parameters": {"file": "0.safetensors", "digest": "e" * 64},
    }
    return sealed(record, network="e" * 64)


def measurement(family: str = "few_shot") -> dict[str, Any]:
    methods = {
        name: {"algorithm": "multistep", "settings": {"window": window, "inner_steps": 4}}
        for name, window in (("exact", 1), ("windows", 2))
    }
    definition = {
        "scale": "tiny",
        "family": family,
        "experiment": "5way_1shot",
        "dataset": "patterns",
        "data": {"size": 28},
        "methods": methods,
        "measure": {"steps": [1, 2], "rounds": 2, "tasks": None, "batches": 2, "alone": True},
    }
    memory = "bytes saved for backward" + (" per task" if family == "few_shot" else "")
    record = {
        "kind": "measure",
        "cell": definition,
        "unit": {"time": "process seconds", "memory": memory},
    }
    if family == "few_shot":
        points = [("exact", 1), ("exact", 2), ("exact", 4), ("windows", 2), ("windows", 4)]
        rows = [{"method": m, "steps": t, "seconds": [1.0, 1.5], "bytes": 9} for m, t in points]
    else:
        rows = [{"method": m, "seconds": [1.0, 1.5], "bytes": 9} for m in methods]
        record["iterations_per_epoch"] = 4
    return sealed(record | {"rows": rows})


def evaluation(of: dict[str, Any] | None = None, first: float = 40.0) -> dict[str, Any]:
    """A test of the parameters of a result (few-shot unless given), with its own settings."""
    cell = (of or few_shot())["cell"]
    s: dict[str, Any] = {"test_steps": 4, "window": 2, "inner_lr": 0.4, **cell["settings"]}
    columns = ("together", "support", "class", "unbalanced", "alone")

    def row(*episodes: float) -> dict[str, Any]:
        mean = stats.over_episodes(episodes)
        own = {"mean": mean.mean, "ci95": mean.half_width, "episodes": list(episodes)}
        return {column: own | {"non_finite_episodes": 0} for column in columns}

    n = s["test_episodes"] - 1
    rows = {
        "trained": row(first, *[60.0] * n),
        "untrained": row(20.0, *[50.0] * n),
        "untrained, head alone": row(*[30.0] * (n + 1)),
        "nearest pixels": row(35.0, *[25.0] * n),
        "meta-training adds": row(first - 20.0, *[10.0] * n),
    }
    used = {"episodes": n + 1, "steps": s["test_steps"], "window": s["window"]}
    record = {
        "kind": "evaluation",
        "cell": {**cell, "settings": s},
        "parameters": "e" * 64,
        "dataset": cell["dataset"],
        "settings": used | {"rate": s["inner_lr"]},
        "rows": rows,
    }
    return sealed(record)


def transfer_evaluation() -> dict[str, Any]:
    of_images = {"mean": 60.0, "images": 30, "low": stats.wilson(18, 30)[0]}
    rows = {"trained": {"test": {**of_images, "high": stats.wilson(18, 30)[1]}}}
    about = {"kind": "evaluation", "cell": transfer()["cell"], "parameters": "e" * 64}
    return sealed(about | {"dataset": "patterns", "settings": {}, "rows": rows}, network="b" * 64)


RESULTS = {"few_shot": few_shot, "chosen": chosen, "candidate": candidate, "transfer": transfer}
RESULTS |= {"few_shot test": evaluation, "transfer test": transfer_evaluation}
MEASUREMENTS = {
    "few_shot times": measurement,
    "transfer times": lambda: measurement("transfer"),
}


# --- forgeries --------------------------------------------------------------------------------


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every field of a record, containers as well: a key can be dropped."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from leaves(value[key], (*path, key))


def other(value: Any) -> Any:
    """Another value that could stand in the same place."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return 0.9 * value + 0.031
    if isinstance(value, str):
        return "0" * 64 if len(value) == 64 else f"{value}x"
    return None if value else "0" * 64


def changed(record: dict[str, Any], where: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy with another value at that place; None drops it."""
    record = copy.deepcopy(record)
    place = record
    for key in where[:-1]:
        place = place[key]
    if value is None:
        del place[where[-1]]
    else:
        place[where[-1]] = value
    return record


class Edits:
    """Every field of sealed JSON files changed, one at a time.

    `free`: the fields that only the seal guards, with why nothing else can: whoever changes one and
    seals the record anew is believed. A new field that is neither checked nor listed fails, and so
    does a line of the list that nothing needs.
    """

    def __init__(self, free: dict[str, str]) -> None:
        self.free, self.unused, self.count = free, set(free), 0

    def refused(self, path: Path, read: Callable[[], object]) -> None:
        """`read` takes the file at `path` as it is, and no edit of it, but for the free fields."""
        text = path.read_text(encoding="utf-8")
        record = json.loads(text)
        read()
        believed = []
        for where in leaves(record):
            value = record
            for key in where:
                value = value[key]
            name, forged = ".".join(map(str, where)), changed(record, where, other(value))
            write_json(path, forged)
            with pytest.raises(UserError, match=r"(delete|again|newer)"):
                read()
            self.count += 1
            if where[0] == "seal":
                continue
            write_json(path, seal.seal(forged, forged.get("made_from")))
            try:
                read()
            except UserError:
                continue
            fitting = {pattern for pattern in self.free if fnmatch.fnmatch(name, pattern)}
            self.unused -= fitting
            believed += [] if fitting else [name]
        path.write_text(text, encoding="utf-8")
        assert not believed, f"{path}: {believed} are believed"

    def done(self) -> int:
        """The number of edits, if all of `free` was needed."""
        assert not self.unused, f"nothing needs {self.unused}"
        return self.count
