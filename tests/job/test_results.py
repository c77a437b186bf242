"""Results are validated on write and on read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from multistep import stats
from multistep.files import UserError
from multistep.job import results

RECORD: dict[str, Any] = {
    "schema": 1,
    "cell": {
        "scale": "tiny",
        "family": "few_shot",
        "experiment": "5way_1shot",
        "dataset": "patterns",
        "method": "maml",
        "algorithm": "multistep",
        "seed": 0,
        "data": {},
        "settings": {},
    },
    "metrics": {
        "test_accuracy": 50.0,
        "test_ci95": 1.0,
        "test_episodes": 2,
        "episode_accuracies": [40.0, 60.0],
        "iterations": 1,
    },
    "history": [
        {
            "iteration": 1,
            "tasks": 4,
            "train_loss": 1.0,
            "train_accuracy": 50.0,
            "meta_gradient_norm": 1.0,
        }
    ],
    "timing": {
        "train_seconds": 1.0,
        "process_seconds": 1.0,
        "seconds_per_iteration": 1.0,
        "history_seconds": [1.0],
        "peak_bytes": 1,
    },
    "environment": {
        "python": "3",
        "torch": "2",
        "numpy": "2",
        "cuda": None,
        "device": "cpu",
        "cpu": "c",
        "threads": 1,
        "tf32": False,
        "platform": "p",
        "commit": None,
        "dirty": None,
        "dataset_digest": "d",
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    record = json.loads(json.dumps(RECORD))
    *parents, last = path.split(".")
    place = record
    for key in parents:
        place = place[key]
    place[last] = value
    return record


def test_write_then_read(tmp_path: Path) -> None:
    path = tmp_path / "results" / "0.json"
    results.write(path, RECORD)
    assert results.read(path) == RECORD
    assert [p.name for p in path.parent.iterdir()] == ["0.json"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", 2, "schema"),
        ("metrics.test_accuracy", 101.0, "metrics.test_accuracy"),
        ("metrics.test_accuracy", float("nan"), "metrics.test_accuracy"),
        ("cell.when", "today", "cell.when"),
        ("history", [{}], "history.0.iteration"),
        ("metrics", 1, "metrics"),
        ("metrics.test_ci95", 70.0, r"metrics: .*no 2 episodes have an accuracy of 50\.0 ± 70\.0"),
        ("metrics.episode_accuracies", [], "metrics: .*no 0 episodes"),
        ("metrics.last", {"test_accuracy": 99.0, "test_ci95": 20.0}, r"99\.0 ± 20\.0"),
    ],
)
def test_a_malformed_result_is_named_on_write_and_on_read(
    tmp_path: Path, path: str, value: Any, message: str
) -> None:
    record, file = changed(path, value), tmp_path / "0.json"
    with pytest.raises(UserError, match=message):
        results.write(file, record)
    assert not file.exists()
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"0\.json: not a result of schema 1.*build it again"):
        results.read(file)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file; build it first"):
        results.read(tmp_path / "0.json")
    (tmp_path / "0.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        results.read(tmp_path / "0.json")
    (tmp_path / "0.json").write_text("[]")
    with pytest.raises(UserError, match=r"0\.json: not a result of schema 1: the file: .*again"):
        results.read(tmp_path / "0.json")


@pytest.mark.parametrize(
    "accuracies", [[0.0, 100.0], [100.0, 100.0], [0.0, 0.0], [100 / 3] * 7, [100.0] * 599 + [0.0]]
)
def test_what_episodes_give_is_never_refused(tmp_path: Path, accuracies: list[float]) -> None:
    found = stats.over_episodes(accuracies)
    own = {"test_accuracy": found.mean, "test_ci95": found.half_width}
    metrics = {**RECORD["metrics"], **own, "episode_accuracies": accuracies}
    results.write(tmp_path / "0.json", changed("metrics", metrics))
