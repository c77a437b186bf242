"""Made-up results, far from any real number, in the form that cells and measurements write,
and a table that shows some of them.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multistep.pages.kinds import Table
from multistep.pages.spec import Context, table_spec
from multistep.pages.tables import write_table

Make = Callable[..., dict[str, Any]]
Write = Callable[..., dict[str, str]]

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


TABLE: dict[str, Any] = {
    "kind": "accuracy",
    "title": "Table 9",
    "caption": "{data}: accuracy (%)",
    "dataset": "omniglot",
    "columns": {"5way_1shot": "5-way 1-shot", "20way_1shot": "20-way 1-shot"},
    "methods": ["maml", "multistep8"],
    "literature": {
        "reptile_literature": {
            "title": "Reptile†",
            "source": "nichol",
            "values": {"5way_1shot": [97.68, 0.04], "20way_1shot": [89.4, 0.1]},
        }
    },
    "paper": {
        "source": "kim",
        "iterations": 60000,
        "episodes": 600,
        "meta_batch": {"5way_1shot": 32, "20way_1shot": 16},
        "interval_n": "episodes/meta_batch",
        "float16_means": True,
        "values": {
            "maml": {"5way_1shot": [50.0, 8.0], "20way_1shot": [40.0, 4.0]},
            "multistep8": {"5way_1shot": [90.0, 0.8]},
        },
    },
    "cell_notes": {"multistep8": {"5way_1shot": "Odd & rare."}},
    "notes": ["50% of a_b | <c> $d$ #e ~ ^ { } \\ [f] are escaped."],
    "references": {"kim": "Kim & Park (2020).", "nichol": "[22] Nichol (2018)."},
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
        last: tuple[int, float, float] | None = None,
        inner_lr: float = 0.4,
        chosen: dict[float, float | None] | None = None,
        history: list[tuple[int, float, float | None]] | None = None,
        seconds: list[float] | None = None,
    ) -> dict[str, Any]:
        """One result; `history` holds (iteration, training, validation accuracy).

        `last`: the tested iteration, and accuracy and half-width of the last one; `chosen`:
        candidates of the inner learning rate with their validation accuracies.
        """
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
        if last is not None:
            best = {"validation_accuracy": 50.0, "validation_ci95": 1.0}
            metrics["best"] = {"iteration": last[0], **best}
            metrics["last"] = {"test_accuracy": last[1], "test_ci95": last[2]}
        candidates = [
            {"value": value, "validation_accuracy": score, "seeds": 1}
            for value, score in (chosen or {}).items()
        ]
        choice = {"setting": "inner_lr", "value": inner_lr, "rule": "", "candidates": candidates}
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
                "settings": {
                    "ways": 5,
                    "iterations": iterations,
                    "meta_batch": meta_batch,
                    "inner_lr": inner_lr,
                },
                **({"chosen": choice} if chosen else {}),
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
        settings: dict[str, dict[str, Any]] | None = None,
        alone: frozenset[int] = frozenset(),
    ) -> dict[str, Any]:
        """One measurement; `rows` holds (method, steps, seconds per round, bytes).

        `settings`: of methods that have others than 32 tasks and 8 inner steps. `alone`: numbers
        of steps that were measured only because a method is trained with them.
        """
        methods = {method for method, *_ in rows}
        common = {"meta_batch": 32, "inner_steps": 8}
        return {
            "schema": 1,
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
            "environment": ENVIRONMENT | ({"device": "Imaginary GPU"} if gpu else {}),
        }

    return make


@pytest.fixture
def table_json() -> dict[str, Any]:
    """The entry of an accuracy table, as params.yaml would have it."""
    return copy.deepcopy(TABLE)


@pytest.fixture
def spec(table_json: dict[str, Any]) -> Table:
    return table_spec("table9", table_json)


@pytest.fixture
def results(make_result: Make) -> list[dict[str, Any]]:
    """Two seeds of MAML at 5-way and one of Multi-step (8), which has exact adaptation."""
    return [
        make_result(seed=1, episodes=[50.0, 70.0, 50.0, 70.0]),
        make_result(seed=0, episodes=[30.0, 50.0, 50.0, 30.0]),
        make_result(method="multistep8", episodes=[80.0, 100.0], exact=(92.5, 3.25)),
    ]


@pytest.fixture
def write() -> Write:
    """Write a table in all formats; returns the texts by suffix."""

    def write(
        path: Path, spec: Table, context: Context, results: list[dict[str, Any]]
    ) -> dict[str, str]:
        paths = write_table(path / "table9", spec, context, results)
        kinds = ("csv", "md", "tex", "html")
        assert [p.name for p in paths] == [f"table9.{kind}" for kind in kinds]
        return {p.suffix[1:]: p.read_text(encoding="utf-8") for p in paths}

    return write
