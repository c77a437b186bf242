"""Results and measurements as tidy pandas frames: a row is one number, or one run.

What each `quantity` is stands in `QUANTITIES`, what each column is in `COLUMNS`.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from multistep.job.record import TRAINED, name_of
from multistep.pages import DataFrame, pd

COLUMNS = {
    "scale": "the scale of a result or a measurement; none for a printed number",
    "table": "the page that a printed number stands on; none for ours",
    "experiment": "of params.yaml",
    "dataset": "of params.yaml",
    "method": "of params.yaml, or a row of the literature",
    "seed": "of a cell",
    "episode": "number of a test episode, from 0",
    "iteration": "meta-iterations or mini-batches so far",
    "epoch": "epochs of meta-transfer so far, from 1",
    "steps": "inner steps of what was timed",
    "round": "of what was timed: a round, or a mini-batch",
    "protocol": "of an evaluation: the queries that were classified together, or the part tested",
    "quantity": "what the number is of: see QUANTITIES",
    "value": "the number",
    "source": "the file of a result; the reference of a printed number",
}
QUANTITIES = {
    "test_accuracy": "percent; mean over test episodes, or of the epoch that validation selects",
    "test_ci95": "percent; half-width of the 95% interval over test episodes",
    "episode_accuracy": "percent; of one test episode",
    "exact_adaptation": "percent; test_accuracy and test_ci95 of the network adapted exactly",
    "evaluated_accuracy": "percent; of trained parameters tested again; of (something else)",
    "evaluated_ci95": "percent; half-width of the 95% interval over its test episodes",
    "evaluated_low": "percent; where the 95% interval over test images begins",
    "evaluated_high": "percent; where it ends",
    "evaluated_episode": "percent; of one of its test episodes",
    "best": "the iterate that validation selects: iteration, validation_accuracy, validation_ci95",
    "last": "percent; test_accuracy and test_ci95 of the last iterate",
    "last_test_accuracy": "percent; after the last epoch",
    "best_epoch": "index from 0 of the epoch that validation selects",
    "validation_accuracy": "percent; of an iterate or an epoch, or the best of them",
    "validation_ci95": "percent; half-width of the 95% interval over validation episodes",
    "train_accuracy": "percent; mean since the entry before",
    "train_loss": "nats; mean since the entry before",
    "transfer_loss": "mean over an epoch",
    "meta_loss": "mean over an epoch",
    "meta_gradient_norm": "mean since the entry before",
    "meta_decay_norm": "norm of the weight decay of the meta-parameters, mean over an epoch",
    "lambda_mean": "weight of a pair of taps (source tap, target tap), mean over an epoch",
    "lambda_dead": "share of an epoch's mini-batches in which no sample gave the pair a slope",
    "drift": "relative change of the transfer gradient between two inner steps, of all it moves",
    "drift_backbone": "the same of the backbone alone",
    "lr": "learning rate of an epoch",
    "tasks": "seen so far",
    "masked": "elements whose second moment was too small to differentiate, in an epoch",
    "non_finite_episodes": "test episodes with a logit that isn't finite",
    "test_episodes": "in the test of a cell",
    "iterations": "meta-iterations run, or mini-batches so far",
    "epochs": "run",
    "train_images": "of the dataset's part",
    "test_images": "of the dataset's part",
    "seconds": "since training began, by the `clock` of the run; of what is timed, of one round",
    "train_seconds": "of training alone, wall clock",
    "process_seconds": "of training alone, process time",
    "seconds_per_iteration": "of training",
    "loading_seconds": "that loading took beside training",
    "evaluation_seconds": "that evaluation took beside training",
    "peak_bytes": "of memory in training",
    "bytes": "of memory, of what was timed",
    "iterations_per_epoch": "mini-batches of an epoch of what was timed",
    "epoch_seconds": "printed: seconds of an epoch",
    "hours": "printed: hours of all epochs",
    "ratio": "printed: of seconds to those of the first method",
    "images": "printed: in a part of a dataset",
}


def of(
    records: Iterable[Mapping[str, Any]], *, episodes: bool = True, history: bool = True
) -> DataFrame:
    """The numbers of given results, measurements and evaluations, in their order; `source`: files
    of the plan.

    Args:
        records: as `multistep.pages.query.read` gives them; prepared datasets have no numbers here.
        episodes: with the accuracy of each test episode.
        history: with the curves.

    Returns:
        A frame with `COLUMNS`.

    """
    return joined(
        block
        for record in records
        if "cell" in record
        for block in blocks(record, place(record), episodes, history)
    )


def runs(records: Iterable[Mapping[str, Any]], *, evaluations: bool = False) -> DataFrame:
    """What was run: a row for each result, for each method of a measurement, and with `evaluations`
    for each of these, in their order.

    Returns:
        A frame that joins with `of` on experiment, dataset, method (and seed, of results): all of a
        cell, nested keys after a point (`settings.meta_batch`, `settings.options.prox`), and of
        `PARTS` (`metrics.test_accuracy`, `unit.time`); lists as they are. Besides:

        file: its place in the plan, `source` in `of`.
        record: "result", "measurement" or "evaluation".
        chosen: the choice by validation of a setting, as the result has it, or None.
        device: the GPU, or the CPU with its number of threads.
        clock: what its seconds are of; None of evaluations, which have none.
        iterations_per_epoch: mini-batches, of measurements of meta-transfer.

    """
    rows: list[dict[str, Any]] = []
    for record in records:
        tested = record.get("kind") == "evaluation"
        if "cell" not in record or (tested and not evaluations):
            continue
        cell = dict(record["cell"])
        chosen, timed = cell.pop("chosen", None), cell.pop("methods", None)
        if tested:
            what, clock = "evaluation", None
        elif timed:
            what, clock = "measurement", record["unit"]["time"]
        else:
            what, clock = "result", training_clock(record)[0]
        common = {
            **cell,
            **{key: record.get(key) or {} for key in PARTS},
            "file": place(record),
            "record": what,
            "device": device_name(record["environment"]),
            "clock": clock,
            "iterations_per_epoch": record.get("iterations_per_epoch"),
        }
        of_methods = [{"method": m, **about} for m, about in timed.items()] if timed else [{}]
        for one in of_methods:
            known = dict(flat(common | one))
            rows.append({**dict.fromkeys(RUN_COLUMNS), **known, "chosen": chosen})
    return pd.DataFrame(rows, columns=None if rows else RUN_COLUMNS)


PARTS = ("metrics", "timing", "environment", "made_from", "unit")
CELL = ["experiment", "dataset", "method"]  # names a cell, or what was timed, but for seeds
RUN_COLUMNS = ["scale", "experiment", "dataset", "method", "seed", "algorithm", "file", "record"]
RUN_COLUMNS += ["chosen", "device", "clock", "iterations_per_epoch"]


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The entries of a mapping, those of mappings in it after their key and a point."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def place(record: Mapping[str, Any]) -> str:
    """The file of a result, a measurement or an evaluation in its scale's plan."""
    folders = {"measure": "results/measure", "evaluation": "evaluations"}
    folder = folders.get(record.get("kind", ""), "results")
    return f"{folder}/{name_of(record['cell'])}.json"


def device_name(environment: Mapping[str, Any]) -> str:
    """The device of a record for readers: the GPU, or the CPU with its number of threads."""
    if environment["device"] != "cpu":
        return str(environment["device"])
    threads = environment["threads"]
    return f"{environment['cpu']}, {threads} thread{'' if threads == 1 else 's'}"


WALL, PROCESS = "wall seconds", "process seconds"
CLOCKS = {
    WALL: "wall clock of training",
    PROCESS: "process seconds of training (of results that only know the whole's: in proportion to "
    "what was done of it)",
}


def training_clock(result: Mapping[str, Any]) -> tuple[str, list[float]]:
    """The clock of a result's history for readers, and its seconds until each entry.

    On a CPU cells share the machine, and the wall clock would show its load and pauses. Older
    results know their process seconds in all alone; one meta-iteration or epoch takes as many as
    another.
    """
    timing = result["timing"]
    seconds: list[float] = timing["history_seconds"]
    if result["environment"]["device"] != "cpu":
        return WALL, seconds
    if kept := timing.get("history_process_seconds"):
        return PROCESS, kept
    done = [e.get("iteration", i) for i, e in enumerate(result["history"], start=1)]
    return PROCESS, [timing["process_seconds"] * n / done[-1] for n in done]


_NAMES = ("scale", "table", "experiment", "dataset", "method", "protocol", "quantity", "source")
_COUNTS = ("seed", "episode", "iteration", "epoch", "steps", "round")


def blocks(
    record: Mapping[str, Any], source: str, episodes: bool, history: bool
) -> Iterator[dict[str, Any]]:
    """The rows of a result or a measurement, those together that share what isn't a list."""
    of = {key: record["cell"].get(key) for key in ("scale", "experiment", "dataset")}
    kind = record.get("kind")
    if kind == "measure":
        shown = _timed(record)
    elif kind == "evaluation":
        shown, of = _evaluated(record, episodes), of | {"dataset": record["dataset"]}
    else:
        shown = _run(record, episodes, history)
    for block in shown:
        packed = {
            key: np.array(value, float) if isinstance(value, list) and key != "quantity" else value
            for key, value in block.items()
        }
        yield {"source": source, **of, **packed}


def joined(blocks: Iterable[Mapping[str, Any]]) -> DataFrame:
    """All rows of blocks; names are categories, as codes, so that millions of rows fit."""
    found = list(blocks)
    lengths = [len(block["value"]) for block in found]

    def whole(column: str, of: type) -> tuple[Any, int | list[int]]:
        """The values of a column, and how often each stands there."""
        values = [block.get(column) for block in found]
        if not any(isinstance(value, list | np.ndarray) for value in values):
            return np.array(values, of), lengths
        pairs = zip(values, lengths, strict=True)
        parts: list[Any] = [
            np.broadcast_to(np.asarray(value, of), length) for value, length in pairs
        ]
        return np.concatenate(parts), 1

    columns: dict[str, Any] = {}
    for key in _NAMES:
        values, times = whole(key, object)
        codes, names = pd.factorize(values)
        columns[key] = pd.Categorical.from_codes(np.repeat(codes, times), names)
    for key in _COUNTS:
        columns[key] = pd.array(np.repeat(*whole(key, float)), "Int64")
    columns["value"] = np.repeat(*whole("value", float))
    return pd.DataFrame(columns, columns=list(COLUMNS))


def _run(record: Mapping[str, Any], episodes: bool, history_too: bool) -> Iterator[dict[str, Any]]:
    """The numbers of one cell."""
    cell, metrics = record["cell"], record["metrics"]
    history = record["history"] if history_too else []
    of = {"method": cell["method"], "seed": cell["seed"]}
    numbers = {
        quantity: float(value)
        for quantity, value in flat({**metrics, **record["timing"]})
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    yield of | {"quantity": list(numbers), "value": list(numbers.values())}
    accuracies = metrics.get("episode_accuracies")
    if accuracies and episodes:
        places = list(range(len(accuracies)))
        yield of | {"episode": places, "quantity": "episode_accuracy", "value": accuracies}

    def curve(quantity: str, values: Sequence[float | None]) -> dict[str, Any]:
        """One number of each entry of the history, where it has one."""
        at = "epoch" if "epoch" in history[0] else "iteration"
        first = 1 if at == "epoch" else 0
        kept = [(e[at] + first, v) for e, v in zip(history, values, strict=True) if v is not None]
        points = {at: [place for place, _ in kept], "value": [value for _, value in kept]}
        return of | {"quantity": quantity, **points}

    if not history:
        return
    yield curve("seconds", training_clock(record)[1])
    keys = {key: value for entry in history for key, value in entry.items()}
    for key, value in keys.items():
        if key not in ("epoch", "iteration", "drift") and not isinstance(value, list):
            yield curve(key, [entry.get(key) for entry in history])
    taps = [cell["settings"].get(f"{end}_taps") or [] for end in ("source", "target")]
    for i, pair in enumerate(itertools.product(*taps)):
        for key in ("lambda_mean", "lambda_dead"):
            of_pair = [entry[key] and entry[key][i] for entry in history]
            yield curve(f"{key}.({pair[0]}, {pair[1]})", of_pair)
    drift = [point for entry in history for point in entry.get("drift") or []]
    for i, quantity in enumerate(("drift", "drift_backbone"), start=1):
        points = {"iteration": [p[0] for p in drift], "value": [p[i] for p in drift]}
        yield of | {"quantity": quantity, **points}


def _evaluated(record: Mapping[str, Any], episodes: bool) -> Iterator[dict[str, Any]]:
    """The numbers of one evaluation; what isn't the trained parameters' stands in brackets."""
    of = {"method": record["cell"]["method"], "seed": record["cell"]["seed"]}
    for what, tested in record["rows"].items():
        end = "" if what == TRAINED else f".({what})"
        for protocol, row in tested.items():
            here = of | {"protocol": protocol}
            numbers = {"accuracy": row["mean"]} | {k: row.get(k) for k in ("ci95", "low", "high")}
            there = {f"evaluated_{k}{end}": x for k, x in numbers.items() if x is not None}
            yield here | {"quantity": list(there), "value": list(there.values())}
            if episodes and row.get("episodes"):
                values = row["episodes"]
                places = {"episode": list(range(len(values))), "value": values}
                yield here | {"quantity": f"evaluated_episode{end}", **places}


def _timed(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The numbers of one measurement."""
    for row in record["rows"]:
        of = {"method": row["method"], "steps": row.get("steps")}
        rounds = list(range(len(row["seconds"])))
        yield of | {"round": rounds, "quantity": "seconds", "value": row["seconds"]}
        yield of | {"quantity": "bytes", "value": [row["bytes"]]}
        if "iterations_per_epoch" in record:
            batches = record["iterations_per_epoch"]
            yield of | {"quantity": "iterations_per_epoch", "value": [batches]}
