"""Made-up results, far from any real number, in the form that cells and measurements write."""

from collections.abc import Callable
from typing import Any

import pytest

from multistep.reports.spec import Context

Make = Callable[..., dict[str, Any]]

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
}


@pytest.fixture
def context() -> Context:
    return Context(
        scale="paper",
        datasets={"omniglot": "Omniglot", "omniglot_standin": "Drawn characters (stand-in)"},
        methods={
            "maml": "MAML (ours)",
            "fomaml": "FO-MAML (ours)",
            "multistep4": "Multi-step (4)",
            "multistep8": "Multi-step (8)",
        },
    )


@pytest.fixture
def stand_in(context: Context) -> Context:
    return context.model_copy(
        update={"scale": "demo", "stand_ins": {"omniglot": "omniglot_standin"}}
    )


@pytest.fixture
def make_result() -> Make:
    def make(
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
        history: list[tuple[int, float, float | None]] | None = None,
        seconds: list[float] | None = None,
    ) -> dict[str, Any]:
        """One result; `history` holds (iteration, training, validation accuracy)."""
        episodes = episodes or [40.0, 60.0]
        history = history or [(10, 30.0, None), (20, 50.0, None)]
        metrics: dict[str, Any] = {
            "test_accuracy": sum(episodes) / len(episodes),
            "test_ci95": 1.0,
            "test_episodes": len(episodes),
            "episode_accuracies": episodes,
            "iterations": iterations,
        }
        if exact is not None:
            metrics["exact_adaptation"] = {"test_accuracy": exact[0], "test_ci95": exact[1]}
        return {
            "schema": 1,
            "cell": {
                "scale": scale,
                "family": "few_shot",
                "experiment": experiment,
                "dataset": dataset,
                "method": method,
                "algorithm": "multistep",
                "seed": seed,
                "data": {"size": 28},
                "settings": {"ways": 5, "iterations": iterations, "meta_batch": meta_batch},
            },
            "metrics": metrics,
            "history": [
                {
                    "iteration": iteration,
                    "tasks": iteration * meta_batch,
                    "train_loss": 1.0,
                    "train_accuracy": training,
                    "meta_gradient_norm": 1.0,
                    "validation_accuracy": validation,
                    "validation_ci95": None if validation is None else 1.0,
                }
                for iteration, training, validation in history
            ],
            "timing": {
                "train_seconds": 1.0,
                "process_seconds": 1.0,
                "seconds_per_iteration": 0.1,
                "history_seconds": seconds or [float(entry[0]) for entry in history],
                "peak_bytes": 1,
            },
            "environment": dict(ENVIRONMENT),
        }

    return make


@pytest.fixture
def make_measurement() -> Make:
    def make(
        experiment: str = "5way_1shot",
        *,
        rows: list[tuple[str, int, list[float], int]],
        scale: str = "paper",
        dataset: str = "omniglot",
        tasks: int | None = None,
        gpu: bool = False,
    ) -> dict[str, Any]:
        """One measurement; `rows` holds (method, steps, seconds per round, bytes)."""
        methods = {method for method, *_ in rows}
        return {
            "schema": 1,
            "kind": "measure",
            "cell": {
                "scale": scale,
                "experiment": experiment,
                "dataset": dataset,
                "methods": {method: {"settings": {"meta_batch": 32}} for method in methods},
                "measure": {"tasks": tasks},
            },
            "unit": {
                "time": "CUDA-event seconds" if gpu else "process seconds",
                "memory": "peak allocated bytes" if gpu else "bytes saved for backward per task",
            },
            "rows": [
                {"method": method, "steps": steps, "seconds": seconds, "bytes": size}
                for method, steps, seconds, size in rows
            ],
            "environment": ENVIRONMENT | ({"device": "Imaginary GPU"} if gpu else {}),
        }

    return make
