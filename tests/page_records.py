"""Made-up results, far from any real number, in the form that jobs write: see `as_written`."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import records

from multistep import seal, stats
from multistep.fewshot import record as few_shot_record
from multistep.files import digest, write_json
from multistep.pages.frame import place
from multistep.pages.inputs import Plan
from multistep.transfer import record as transfer_record

Record = dict[str, Any]

GPU = {"device": "Imaginary GPU", "cuda": "13.0"}
SETTINGS = {  # of a transfer cell
    "source": "imagenet", "source_taps": [1, 2], "target_taps": [1, 2, 3], "batch_size": 64,
    "epochs": 3, "optimizer": "sgd", "inner_steps": 2, "window": 1, "scheme": "keep",
    "source_features": "batch", "log_every": 10,
}  # fmt: skip
PAIRS = 6
BATCHES = 20  # of an epoch


def _timing(seconds: Sequence[float]) -> Record:
    """`seconds` until each entry of the history."""
    total = dict.fromkeys(("train_seconds", "process_seconds"), max(10.0, *seconds))
    total["seconds_per_iteration"] = 0.1
    beside = {"loading_seconds": 1.0, "evaluation_seconds": 1.0, "peak_bytes": 1}
    return {**total, "history_seconds": list(seconds), **beside}


def _parameters(cell: Record) -> Record:
    """Of each cell others: those of one are refused as a copy."""
    return {"file": f"{cell['seed']}.safetensors", "digest": digest(cell)}


def few_shot(
    experiment: str = "5way_1shot",
    method: str = "maml",
    seed: int = 0,
    *,
    episodes: list[float] | None = None,
    scale: str = "paper",
    dataset: str = "omniglot",
    iterations: int = 60000,
    meta_batch: int = 32,
    exact: tuple[float, float] | None = None,
    last: tuple[int, float, float] | None = None,
    inner_lr: float = 0.4,
    chosen: dict[float, float | None] | None = None,
    history: list[tuple[int, float, float | None]] | None = None,
    seconds: list[float] | None = None,
) -> Record:
    """One result; `history` holds (iteration, training, validation accuracy).

    `last`: the tested iteration, and accuracy and half-width of the last one; `chosen`:
    candidates of the inner learning rate with their validation accuracies.
    """
    episodes = episodes or [40.0, 60.0]
    history = history or [(10, 30.0, None), (20, 50.0, None)]
    metrics: Record = {
        "test_accuracy": sum(episodes) / len(episodes), "test_ci95": 1.0,
        "test_episodes": len(episodes), "episode_accuracies": episodes, "iterations": iterations,
    }  # fmt: skip
    if exact is not None:
        metrics["exact_adaptation"] = {"test_accuracy": exact[0], "test_ci95": exact[1]}
    if last is not None:
        best = {"validation_accuracy": 50.0, "validation_ci95": 1.0}
        metrics["best"] = {"iteration": last[0], **best}
        metrics["last"] = {"test_accuracy": last[1], "test_ci95": last[2]}
    candidates = [
        {"value": value, "validation_accuracy": score, "seeds": 1}
        for value, score in (chosen or {}).items()
    ]
    choice = {"setting": "inner_lr", "value": inner_lr, "rule": "", "candidates": candidates}
    settings = {
        "ways": 5, "iterations": iterations, "meta_batch": meta_batch, "inner_lr": inner_lr,
    }  # fmt: skip
    names = {"scale": scale, "experiment": experiment, "dataset": dataset, "method": method}
    more = {**names, "seed": seed, **({"chosen": choice} if chosen else {})}
    cell = records.cell("few_shot", settings, **more)
    record = {
        "cell": cell,
        "metrics": metrics,
        "history": [
            {"iteration": iteration, "tasks": iteration * meta_batch, "train_loss": 1.0 + seed,
             "train_accuracy": training, "meta_gradient_norm": 1.0,
             "validation_accuracy": validation, "validation_ci95": validation and 1.0}
            for iteration, training, validation in history
        ],
        "timing": _timing(seconds or [float(entry[0]) for entry in history]),
        "parameters": _parameters(cell),
    }  # fmt: skip
    return records.sealed(record, choice="b" * 64 if chosen else None)


def put(home: Path, *made: Record) -> Path:
    """Results and measurements as written in the folder that their scale is built in."""
    for record in made:
        write_json(home / place(record), as_written(record))
    return home


def few_shot_times(
    experiment: str = "5way_1shot",
    *,
    rows: list[tuple[str, int, list[float], int]],
    scale: str = "paper",
    dataset: str = "omniglot",
    tasks: int | None = None,
    gpu: bool = False,
    settings: dict[str, Record] | None = None,
    alone: frozenset[int] = frozenset(),
) -> Record:
    """One measurement; `rows` holds (method, steps, seconds per round, bytes).

    `settings`: of methods that have others than 32 tasks and 8 inner steps. `alone`: numbers
    of steps that were measured only because a method is trained with them.
    """
    methods = {method for method, *_ in rows}
    common = {"meta_batch": 32, "inner_steps": 8}
    record = {
        "kind": "measure",
        "cell": {
            "scale": scale,
            "experiment": experiment,
            "dataset": dataset,
            "methods": {
                method: {"settings": common | (settings or {}).get(method, {})}
                for method in methods
            },
            "measure": {"tasks": tasks, "steps": sorted({t for _, t, *_ in rows} - alone)},
        },
        "unit": {
            "time": "CUDA-event seconds" if gpu else "process seconds",
            "memory": "peak allocated bytes" if gpu else "bytes saved for backward per task",
        },
        "rows": [
            {"method": method, "steps": steps, "seconds": seconds, "bytes": size}
            for method, steps, seconds, size in rows
        ],
        "environment": records.ENVIRONMENT | (GPU if gpu else {}),
    }
    return records.sealed(record)


def transfer(
    experiment: str = "sgd",
    dataset: str = "bird",
    method: str = "l2t",
    seed: int = 0,
    *,
    test: float = 50.0,
    accuracies: list[float] | None = None,
    lambdas: list[list[float]] | None = None,
    dead: list[float] | None = None,
    norms: list[float] | None = None,
    drift: list[list[tuple[int, float, float]]] | None = None,
    scale: str = "paper",
    settings: Record | None = None,
) -> Record:
    """One result. By epoch: validation `accuracies` (3 by default), `lambdas`, `norms`, `drift`."""
    accuracies = accuracies or [20.0, 40.0, 50.0]
    epochs = len(accuracies)
    bilevel = method != "scratch"
    names = {"scale": scale, "experiment": experiment, "dataset": dataset, "method": method}
    more = {"algorithm": "bilevel" if bilevel else "scratch", "seed": seed, "data": {"size": None}}
    history = []
    for e, accuracy in enumerate(accuracies):
        of_meta = {
            "transfer_loss": 1.0, "meta_loss": 1.0, "meta_decay_norm": 1e-3,
            "meta_gradient_norm": (norms or [1.0] * epochs)[e],
            "lambda_mean": (lambdas or [[1.0] * PAIRS] * epochs)[e],
            "lambda_dead": dead or [0.0] * PAIRS,
        }  # fmt: skip
        history.append(
            {"epoch": e, "iterations": (e + 1) * BATCHES, "lr": 0.1, "train_loss": 1.0 + seed,
             "train_accuracy": min(100.0, accuracy + 10), "validation_accuracy": accuracy,
             "test_accuracy": accuracy - 1, "masked": 0, "drift": drift[e] if drift else None,
             **(of_meta if bilevel else dict.fromkeys(of_meta))}
        )  # fmt: skip
    cell = records.cell(
        "transfer", SETTINGS | {"epochs": epochs} | (settings or {}), **names, **more
    )
    record = {
        "cell": cell,
        "metrics": {
            "test_accuracy": test, "validation_accuracy": max(accuracies),
            "best_epoch": accuracies.index(max(accuracies)),
            "last_test_accuracy": accuracies[-1] - 1, "epochs": epochs,
            "train_images": BATCHES * (SETTINGS | (settings or {}))["batch_size"],
            "test_images": 500,
        },
        "history": history,
        "timing": _timing(
            [10.0 * (e + 1) for e in range(epochs)]
        ),
        "parameters": _parameters(cell),
    }  # fmt: skip
    return records.sealed(record, network="e" * 64 if bilevel else None)


def transfer_times(
    experiment: str = "sgd",
    dataset: str = "bird",
    *,
    seconds: dict[str, list[float]],
    iterations: int = 100,
    scale: str = "paper",
    settings: Record | None = None,
) -> Record:
    """One measurement: `seconds` of each timed mini-batch by method."""
    record = {
        "kind": "measure",
        "cell": {
            "scale": scale,
            "family": "transfer",
            "experiment": experiment,
            "dataset": dataset,
            "methods": {
                method: {"algorithm": "bilevel", "settings": SETTINGS | (settings or {})}
                for method in seconds
            },
            "measure": {"batches": len(next(iter(seconds.values())))},
        },
        "unit": {"time": "CUDA-event seconds", "memory": "peak allocated bytes"},
        "iterations_per_epoch": iterations,
        "rows": [
            {"method": method, "seconds": values, "bytes": 10**9}
            for method, values in seconds.items()
        ],
        "environment": records.ENVIRONMENT | GPU,
    }
    return records.sealed(record, network="e" * 64)


def as_written(record: Record, cell: Record | None = None) -> Record:
    """The record as a job would have written it, for tests that read it from its file: with all
    that readers compute again of the settings. `cell`: the plan's, if it has to be that one.
    """
    record = copy.deepcopy(record)
    own = record["cell"] = record["cell"] | (copy.deepcopy(cell) or {})
    if "chosen" in own:
        own["settings"][own["chosen"]["setting"]] = own["chosen"]["value"]
    if "rows" in record:
        _complete_times(record)
    elif own["family"] == "transfer":
        _complete_transfer(record)
    else:
        _complete_few_shot(record)
    return records.sealed(record, **({"choice": "b" * 64} if "chosen" in own else {}))


def _complete_times(record: Record) -> None:
    cell, of = record["cell"], record["rows"]
    if "iterations_per_epoch" in record:
        return
    cell["measure"].setdefault("rounds", len(of[0]["seconds"]))
    for name, method in cell["methods"].items():
        least = min(row["steps"] for row in of if row["method"] == name)
        method["settings"].setdefault("window", least)
    there = {(row["method"], row["steps"]): row for row in of}
    record["rows"] = [there[point] for point in few_shot_record.points(cell)]


def _complete_timing(timing: Record, ends: Sequence[int], count: int) -> None:
    """A second for each of `ends`, unless there is a time for each, and for one of `count`."""
    if len(timing["history_seconds"]) != len(ends):
        timing["history_seconds"] = [float(end) for end in ends]
        timing |= dict.fromkeys(("train_seconds", "process_seconds"), float(ends[-1]))
    timing["seconds_per_iteration"] = timing["train_seconds"] / count


def _complete_few_shot(record: Record) -> None:
    metrics, history = record["metrics"], record["history"]
    first, last = history[0]["iteration"], history[-1]["iteration"]
    s = record["cell"]["settings"]
    if "log_every" not in s:  # the plan's have it
        s |= {
            "iterations": last, "log_every": first, "validate_every": first, "selection": "last",
            "hold_out_validation": any(e["validation_accuracy"] for e in history), "queries": 40,
            "window": 2 if "exact_adaptation" in metrics else 1,
            "test_episodes": len(metrics["episode_accuracies"]),
        }  # fmt: skip
    count, every = s["iterations"], s["log_every"]
    done = [min(count, every * (i + 1)) for i in range(-(-count // every))]
    history[:] = history[: len(done)] + history[-1:] * (len(done) - len(history))
    for i, (entry, iteration) in enumerate(zip(history, done, strict=True)):
        due = s["hold_out_validation"] and (
            iteration % s["validate_every"] == 0 or iteration == count
        )
        ours = {"validation_accuracy": entry["validation_accuracy"] or 50.0, "validation_ci95": 1.0}
        found = ours if due else dict.fromkeys(ours)
        history[i] = entry | found | {"iteration": iteration, "tasks": iteration * s["meta_batch"]}
    _complete_timing(record["timing"], done, count)
    episodes, images = metrics["episode_accuracies"], s["ways"] * s["queries"]
    episodes = [episodes[i % len(episodes)] for i in range(s["test_episodes"])]
    metrics["episode_accuracies"] = [100 * round(e * images / 100) / images for e in episodes]
    mean = stats.over_episodes(metrics["episode_accuracies"])
    of_test = {"test_accuracy": mean.mean, "test_ci95": mean.half_width}
    metrics |= of_test | {"test_episodes": len(episodes), "iterations": count}
    metrics |= {"exact_adaptation": of_test} if s["window"] > 1 else {}
    if s["selection"] == "best":
        best = max((e for e in history if e["validation_accuracy"]), key=_validated)
        keys = ("iteration", "validation_accuracy", "validation_ci95")
        metrics |= {"best": {key: best[key] for key in keys}, "last": of_test}


def _validated(entry: Record) -> float:
    return float(entry["validation_accuracy"])


def _complete_transfer(record: Record) -> None:
    metrics, history = record["metrics"], record["history"]
    s = {"lr": 0.1, "schedule_offset": 0} | record["cell"]["settings"]
    record["cell"]["settings"] = s
    metrics |= {"train_images": BATCHES * s["batch_size"], "test_images": 10_000}
    count = s["epochs"]
    history[:] = history[:count] + history[-1:] * (count - len(history))
    for e, entry in enumerate(history):
        own = {"epoch": e, "iterations": (e + 1) * BATCHES}
        own["lr"] = transfer_record.rate(s["lr"], s["schedule_offset"], count, e)
        history[e] = entry | own
    best = max(history, key=_validated)
    best["test_accuracy"] = round(metrics["test_accuracy"], 2)
    metrics |= {
        "test_accuracy": best["test_accuracy"], "epochs": count, "best_epoch": best["epoch"],
        "validation_accuracy": best["validation_accuracy"],
        "last_test_accuracy": history[-1]["test_accuracy"],
    }  # fmt: skip
    _complete_timing(record["timing"], range(1, count + 1), count * BATCHES)


def prepared(name: str, train: int, validation: int, test: int, prepare: Any = None) -> Record:
    """The dataset.json of a prepared image set, as far as pages read it."""
    ends = {"train": (0, train), "validation": (train, train + validation)}
    ends["test"] = (train + validation, train + validation + test)
    record = {
        "schema": 2,
        "name": name,
        "stand_in": False,
        "splits": {part: [[first, end]] for part, (first, end) in ends.items()},
    }
    return seal.seal(record, {"archives": {"a.zip": "2" * 64}, "dataset": {"prepare": prepare}})


def made_up(files: Sequence[str], plan: Plan) -> list[Record]:
    """A record for each file of a plan that a page asks for, valid and with the plan's settings."""
    found = []
    for i, file in enumerate(files):
        if file.startswith("evaluations/"):
            cell = json.loads(plan.cells[file.replace("evaluations", "results", 1)].json)
            record = records.evaluation({"cell": cell}, 30.0 + i % 7)
        elif file in plan.cells:
            cell = json.loads(plan.cells[file].json)
            settings = cell["settings"]
            if cell["family"] == "few_shot":
                record = few_shot(
                    seed=cell["seed"],
                    episodes=[30.0 + i % 7, 50.0],
                    iterations=settings["iterations"],
                    meta_batch=settings["meta_batch"],
                    history=[(10, 30.0, 31.0), (20, 50.0, 51.0)],
                )
                if "inner_lr" not in settings:  # the plan leaves it to a choice
                    chosen = few_shot(chosen={0.1: None, 0.4: 40.0})["cell"]["chosen"]
                    cell = cell | {"settings": settings | {"inner_lr": 0.4}, "chosen": chosen}
            else:
                pairs = len(settings.get("source_taps", [])) * len(settings.get("target_taps", []))
                record = transfer(
                    method=cell["method"],
                    seed=cell["seed"],
                    test=40.0 + i % 7,
                    lambdas=[[1.0] * pairs] * 3,
                    dead=[0.0] * pairs,
                    drift=None if cell["method"] == "scratch" else [[(10, 1.0, 0.5)], [], []],
                )
            record["cell"] = cell
        elif file in plan.measurements:
            cell = plan.measurements[file]
            if cell["family"] == "few_shot":
                more = [0.2] * (cell["measure"]["rounds"] - 1)
                points = few_shot_record.points(cell)
                rows = [(method, n, [0.1 * n, *more], 10**8) for method, n in points]
                record = few_shot_times(rows=rows)
            else:
                others = [1.1 + i % 3] * (cell["measure"]["batches"] - 1)
                seconds = {method: [1.0, *others] for method in cell["methods"]}
                record = transfer_times(seconds=seconds)
            record["cell"] = cell
        else:
            name = Path(file).parent.name
            record = prepared(name, 5, 2, 3, plan.params.datasets[name].prepare)
        found.append(record)
    return found
