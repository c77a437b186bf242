"""Made-up records of meta-transfer in the form that its jobs write, checked as they check them."""

from typing import Any

from multistep import seal
from multistep.transfer import record as records

ENVIRONMENT: dict[str, Any] = {
    "python": "3.11.7",
    "torch": "2.15.0",
    "numpy": "2.3.0",
    "cuda": None,
    "device": "cpu",
    "cpu": "Imaginary CPU",
    "threads": 1,
    "tf32": False,
    "platform": "Linux",
    "commit": None,
    "dirty": None,
    "dataset_digest": "0" * 64,
    "network_digest": "1" * 64,
}
SETTINGS: dict[str, Any] = {
    "source": "imagenet",
    "source_taps": [1, 2],
    "target_taps": [1, 2, 3],
    "batch_size": 64,
    "epochs": 3,
    "optimizer": "sgd",
    "inner_steps": 2,
    "window": 1,
    "scheme": "keep",
    "source_features": "batch",
    "log_every": 10,
}
PAIRS = 6
BATCHES = 20  # of an epoch


def cell_result(
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
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One result. By epoch: validation `accuracies` (3 by default), `lambdas`, `norms`, `drift`."""
    accuracies = accuracies or [20.0, 40.0, 50.0]
    epochs = len(accuracies)
    scratch = method == "scratch"
    history = [
        {
            "epoch": e,
            "iterations": (e + 1) * BATCHES,
            "lr": 0.1,
            "train_loss": 1.0,
            "train_accuracy": min(100.0, accuracy + 10),
            "validation_accuracy": accuracy,
            "test_accuracy": accuracy - 1,
            "transfer_loss": None if scratch else 1.0,
            "meta_loss": None if scratch else 1.0,
            "meta_gradient_norm": None if scratch else (norms or [1.0] * epochs)[e],
            "meta_decay_norm": None if scratch else 1e-3,
            "lambda_mean": None if scratch else (lambdas or [[1.0] * PAIRS] * epochs)[e],
            "lambda_dead": None if scratch else (dead or [0.0] * PAIRS),
            "masked": 0,
            "drift": drift[e] if drift else None,
        }
        for e, accuracy in enumerate(accuracies)
    ]
    record = {
        "schema": 1,
        "cell": {
            "scale": scale,
            "family": "transfer",
            "experiment": experiment,
            "dataset": dataset,
            "method": method,
            "algorithm": "scratch" if scratch else "bilevel",
            "seed": seed,
            "data": {"size": None},
            "settings": SETTINGS | {"epochs": epochs} | (settings or {}),
        },
        "metrics": {
            "test_accuracy": test,
            "validation_accuracy": max(accuracies),
            "best_epoch": accuracies.index(max(accuracies)),
            "last_test_accuracy": accuracies[-1] - 1,
            "epochs": epochs,
            "train_images": 1280,
            "test_images": 500,
        },
        "history": history,
        "timing": {
            "train_seconds": 10.0 * epochs,
            "process_seconds": 10.0 * epochs,
            "seconds_per_iteration": 0.5,
            "history_seconds": [10.0 * (e + 1) for e in range(epochs)],
            "peak_bytes": 1,
            "loading_seconds": 1.0,
            "evaluation_seconds": 1.0,
        },
        "environment": ENVIRONMENT,
    }
    records.Result.model_validate(record)
    return record


def measurement(
    experiment: str = "sgd",
    dataset: str = "bird",
    *,
    seconds: dict[str, list[float]],
    iterations: int = 100,
    scale: str = "paper",
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One measurement: `seconds` of each timed mini-batch by method."""
    record = {
        "schema": 1,
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
            "measure": {"batches": 4},
        },
        "unit": {"time": "CUDA-event seconds", "memory": "peak allocated bytes"},
        "iterations_per_epoch": iterations,
        "rows": [
            {"method": method, "seconds": values, "bytes": 10**9}
            for method, values in seconds.items()
        ],
        "environment": ENVIRONMENT | {"device": "Imaginary GPU"},
    }
    records.Measurement.model_validate(record)
    return record


def prepared(name: str, train: int, validation: int, test: int) -> dict[str, Any]:
    """The dataset.json of a prepared image set, as far as pages read it."""
    ends = {"train": (0, train), "validation": (train, train + validation)}
    ends["test"] = (train + validation, train + validation + test)
    record = {
        "schema": 2,
        "name": name,
        "stand_in": False,
        "splits": {part: [[first, end]] for part, (first, end) in ends.items()},
    }
    return seal.seal(record, {"archives": {"a.zip": "2" * 64}})
