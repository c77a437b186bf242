"""The methods part: one meta-iteration of every few-shot method of params.yaml, at its own number
of inner steps and at the same number for all.

Measured by `multistep.fewshot.measure`, as for Figures 2 and 5, on stand-in images.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.problem import paper, stand_in_images
from multistep.data import prepared
from multistep.fewshot import measure as fewshot_measure
from multistep.plan import cells

STEPS = 8  # the paper's, for all
EXPERIMENTS = {  # experiment → the dataset that its images stand in for, tasks on a CPU
    "5way_1shot": ("omniglot", 8),
    "5way_5shot": ("omniglot", 8),
    "mini_5way_1shot": ("miniimagenet", 2),
}
SHAPES = {"omniglot": {"size": 28}, "miniimagenet": {"classes": 64, "size": 84, "channels": 3}}


def measure(place: torch.device, rounds: int, tasks: int | None) -> dict[str, Any]:
    """Times and bytes of all methods. `tasks` in a meta-batch, of every experiment; None: few on a
    CPU, the experiment's own on a GPU.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = {name: Path(folder) / name for name in SHAPES}
        for name, shape in SHAPES.items():
            prepare(data[name], stand_in_images(**shape))
        found = {}
        for experiment, (dataset, few) in EXPERIMENTS.items():
            size = tasks or (few if place.type == "cpu" else None)
            defined = definition(experiment, dataset, rounds, size)
            found[experiment] = compare(defined, data[dataset], place)
    return {"kind": "bench-methods", "steps": STEPS, "experiments": found}


def prepare(folder: Path, images: Tensor) -> None:
    """Write images in the place of the dataset `folder.name`, all of its classes for training."""
    classes, per_class = images.shape[:2]
    rows = images.flatten(0, 1).numpy()
    prepared.save(
        folder, name=folder.name, classes=[str(c) for c in range(classes)],
        labels=np.arange(len(rows)) // per_class,
        splits={"train": range(len(rows)), "validation": [], "test": []}, shape=rows.shape[1:],
        images=enumerate(rows),
    )  # fmt: skip


def definition(experiment: str, dataset: str, rounds: int, tasks: int | None) -> dict[str, Any]:
    """The plan's measurement of an experiment, with the benchmark's own sizes and images."""
    planned = cells.measurements(paper())[f"results/measure/{experiment}/{dataset}.json"]
    measure = {"steps": [STEPS], "rounds": rounds, "tasks": tasks}
    return planned | {"data": None, "measure": measure}


def compare(definition: dict[str, Any], data: Path, place: torch.device) -> dict[str, Any]:
    """Settings, times and bytes of all methods of one experiment, in one interleaved run."""
    found, _ = fewshot_measure.measure(definition, data, None, place)
    settings = {method: entry["settings"] for method, entry in definition["methods"].items()}
    one = settings["maml"]
    return {
        "tasks": definition["measure"]["tasks"] or one["meta_batch"],
        "queries": one["queries"],
        "network": one["network"]["geometry"],
        "filters": one["network"]["filters"],
        "methods": {
            method: {
                "title": paper().methods[method].title,
                "steps": s["inner_steps"],
                "window": s["window"],
                "cg_steps": s["options"].get("cg_steps"),
            }
            for method, s in settings.items()
        },
        "unit": found["unit"],
        "rows": found["rows"],
    }
