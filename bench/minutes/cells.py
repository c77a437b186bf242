"""The paper's cells on Omniglot, cheapest first, by the product's own commands.

They are those of a scale, so the workflow knows them: what a stopped run leaves in the scale's
scratch/ is gone on with by `multistep train`, by Snakemake and by this script.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.minutes.stage import Result
from bench.problem import ROOT
from multistep.files import UserError
from multistep.plan import cells, params

SCALES = {"cuda": "omniglot-gpu", "cpu": "demo"}
GRACE = 20.0  # seconds from asking a run to stop to making it
SAVING = 5.0  # what it may need of them


@dataclass(frozen=True)
class Scale:
    """Where cells are trained: a project's folder and one of its scales, whose data are prepared
    from archives in `source` if they aren't there.
    """

    project: Path
    name: str
    source: Path | None

    @property
    def layers(self) -> list[Path]:
        return [
            self.project / "params.yaml", self.project / "workflow" / "scales" / f"{self.name}.yaml"
        ]  # fmt: skip

    @property
    def home(self) -> Path:
        return self.project / "scales" / self.name

    def set_up(self) -> None:
        """Give a folder that isn't this project what it needs of it."""
        for path in self.layers:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path.relative_to(self.project), path)

    def plan(self, methods: set[str]) -> list[cells.Cell]:
        """Its cells on Omniglot of these methods."""
        found = cells.plan(params.load(*self.layers))
        return [c for c in found if c.dataset.startswith("omniglot") and c.method in methods]

    def prepare(self, dataset: str) -> None:
        """The prepared dataset. Raises UserError with what the command said."""
        if (self.home / "data" / "processed" / dataset / "dataset.json").exists():
            return
        about = params.load(*self.layers).datasets[dataset]
        raw = self.home / "data" / "raw" / dataset
        lent = ["--source", str(self.source)] if self.source else []
        for archive in about.archives:
            self._data(
                dataset, "download", "--archive", archive, "--out", str(raw / archive), *lent
            )
        out = self.home / "data" / "processed" / dataset
        self._data(dataset, "prepare", "--raw", str(raw), "--out", str(out))

    def _data(self, dataset: str, step: str, *options: str) -> None:
        given = ["--params", *map(str, self.layers)]
        command = [*_multistep(), "data", step, "--dataset", dataset, *options, *given]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True)
        if done.returncode:
            raise UserError((done.stderr.strip().splitlines() or ["no reason given"])[-1])


def order(planned: list[cells.Cell], rates: dict[str, float]) -> Iterator[tuple[cells.Cell, float]]:
    """Cells with the seconds that they should take, by seed and then by seconds. `rates`: meta-
    iterations a second of "experiment/method"; cells without one are left out.
    """
    expected = []
    for cell in planned:
        rate = rates.get(f"{cell.experiment}/{cell.method}")
        if rate:
            seconds = cell.definition["settings"]["iterations"] / rate
            expected.append((cell.seed, seconds, cell))
    for _, seconds, cell in sorted(expected, key=lambda each: each[:2]):
        yield cell, seconds


def train(scale: Scale, cell: cells.Cell, deadline: float) -> Result:
    """Train a cell until it is done or time is up; what is known of it then. Its log lies beside
    those of the workflow.
    """
    path = scale.home / cell.path
    if path.exists():
        return _outcome(path)
    log = (scale.home / "logs" / cell.path).with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with log.open("a", encoding="utf-8") as file:
        running = subprocess.Popen(
            [*_multistep(), "train", str(path)], stdout=file, stderr=file, env=_environment()
        )
        try:
            running.wait(max(0.0, deadline - SAVING - begun))
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGTERM)
            try:
                running.wait(GRACE)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
        except BaseException:
            running.send_signal(signal.SIGTERM)  # it saves
            running.wait()
            raise
    found = {"seconds": time.monotonic() - begun}
    if running.returncode == 0 and path.exists():
        return _outcome(path) | found
    curve = (scale.home / "scratch" / cell.path).with_suffix(".jsonl")
    lines = curve.read_text(encoding="utf-8").splitlines() if curve.exists() else []
    reached = json.loads(lines[-1])["iteration"] if lines else 0
    if running.returncode in (128 + signal.SIGTERM, -signal.SIGTERM, -signal.SIGKILL):
        return found | {"iteration": reached, "stopped": "by the clock"}
    said = log.read_text(encoding="utf-8").strip().splitlines()
    return found | {"iteration": reached, "error": said[-1] if said else "no reason given"}


def _outcome(path: Path) -> Result:
    """Of a cell's result."""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    metrics, timing = record["metrics"], record["timing"]
    return {
        "iteration": metrics["iterations"],
        "accuracy": metrics["test_accuracy"],
        "ci95": metrics["test_ci95"],
        "train_seconds": timing["train_seconds"],
    }


def _multistep() -> list[str]:
    return [sys.executable, "-m", "multistep.cli"]


def _environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}
