"""Small made-up datasets and cells for the tests of training and measuring."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from multistep import cli
from multistep.data import prepared
from multistep.plan import cells, params

ROOT = Path(__file__).resolve().parent.parent
PARAMS = ROOT / "params.yaml"


def prepared_dataset(folder: Path) -> Path:
    """In Omniglot's place: 60 learnable classes, noisy copies of one random pattern each."""
    rng = np.random.default_rng(0)
    patterns = rng.random((60, 1, 7, 7)).repeat(4, 2).repeat(4, 3) < 0.3
    noise = rng.random((60, 20, 28, 28))
    images = (255 * (0.7 * patterns + 0.3 * noise)).astype(np.uint8).reshape(-1, 28, 28)
    return prepared.save(
        folder, name="omniglot", classes=[f"pattern{i:02}" for i in range(60)],
        labels=np.arange(1200) // 20,
        splits={"train": range(600), "validation": range(600, 800), "test": range(800, 1200)},
        shape=(28, 28), images=enumerate(images),
        made_from={"dataset": {"prepare": params.read(PARAMS)["datasets"]["omniglot"]["prepare"]}},
    )  # fmt: skip


SMALL: dict[str, Any] = {
    "device": "cpu",
    "seeds": [0, 1],
    "few_shot": {
        "queries": 5,
        "hold_out_validation": True,
        "network": {"filters": 8},
        "inner_steps": 4,
        "test_steps": 4,
        "iterations": 12,
        "log_every": 4,
        "validate_every": 8,
        "validation_episodes": 6,
        "test_episodes": 10,
    },
    "methods": {
        "multistep8": {"settings": {"window": 1}},
        "reptile": {"settings": {"options": {"train_shots": 3}, "iterations": 12}},
    },
    "experiments": {  # where more of a class are trained on than these episodes have
        name: {"overrides": {"reptile": {"options": {"train_shots": 3}}}}
        for name, experiment in params.read(PARAMS)["experiments"].items()
        if "reptile" in experiment.get("overrides", {})
    },
}


def small_params(**few_shot: Any) -> params.Params:
    """params.yaml cut down so that a cell takes a second; keywords change `few_shot`."""
    base = params.merge(params.read(PARAMS), SMALL)
    return params.validate(params.merge(base, {"few_shot": few_shot}))


def small_cell(method: str = "maml", seed: int = 0, **few_shot: Any) -> cells.Cell:
    """A 5-way 1-shot cell of `small_params`, meta-batch of 4."""
    p = small_params(**few_shot)
    settings = params.merge(
        p.model_dump(), {"experiments": {"5way_1shot": {"settings": {"meta_batch": 4}}}}
    )
    plan = cells.plan(params.validate(settings))
    return next(c for c in plan if (c.experiment, c.method, c.seed) == ("5way_1shot", method, seed))


def mistakes(text: str) -> list[tuple[str, str]]:
    """(change, message) of every "CHANGE -> MESSAGE"; indented lines belong to the one before."""
    rows = re.sub(r"\n +", " ", text.strip()).splitlines()
    return [(change, message) for change, _, message in (row.partition(" -> ") for row in rows)]


def put(values: dict[str, Any], change: str) -> dict[str, Any]:
    """`values` after "KEY/KEY=VALUE", or several of these joined by " & "; values are YAML."""
    for one in change.split(" & "):
        path, _, value = one.partition("=")
        *parents, last = path.split("/")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = yaml.safe_load(value)
    return values


def with_algorithm(project: Path, family: str, name: str, text: str) -> Path:
    """Copy what tests of algorithms need, and this one; the folder of its tests."""
    for folder in ("src", "tests", "workflow"):
        shutil.copytree(ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pyc*"))
    for file in ("params.yaml", "pyproject.toml"):
        shutil.copy(ROOT / file, project)
    (project / f"src/multistep/{family}/algorithms/{name}.py").write_text(text)
    return project / "tests" / family


def checked(project: Path, *tests: str) -> str:
    """The output of some tests there."""
    command = [sys.executable, "-m", "pytest", "-q", *tests]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(project / "src")}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    return done.stdout + done.stderr


def train(home: Path, cell: dict[str, Any], *more: str) -> Path:
    """The result of a cell, trained by the command on a folder's prepared data."""
    out = home / "results/e" / cell["dataset"] / cell["method"] / "0.json"
    data = home / "data/processed" / cell["dataset"]
    line = ["train", "--cell", json.dumps(cell), "--data", str(data), "--out", str(out), *more]
    assert cli.main([*line, "--checkpoint", str(home / "c.pt"), "--device", "cpu"]) == 0
    return out


def stable(record: dict[str, Any]) -> str:
    """What is the same in the results of identical runs."""
    return json.dumps([record["cell"], record["metrics"], record["history"]])
