"""Time and memory of a few-shot meta-iteration, as `results/measure/` has them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from multistep.pages.query import Point, device_name

LABELS = {
    "process seconds": "process time",
    "CUDA-event seconds": "CUDA-event time",
    "bytes saved for backward per task": "saved for backward per task",
    "peak allocated bytes": "peak allocated",
}


def costs(measurement: dict[str, Any], method: str) -> list[Point]:
    """What a meta-iteration of one method costs, by inner steps; empty if it was not measured."""
    cell, units = measurement["cell"], measurement["unit"]
    found = []
    for row in sorted(measurement["rows"], key=lambda row: int(row["steps"])):
        if row["method"] == method:
            low, median, high = np.quantile(row["seconds"], [0.25, 0.5, 0.75])
            settings = cell["methods"][method]["settings"]
            found.append(
                Point(
                    method=method,
                    steps=int(row["steps"]),
                    seconds=float(median),  # over rounds, with quartiles
                    seconds_low=float(low),
                    seconds_high=float(high),
                    rounds=len(row["seconds"]),
                    bytes=int(row["bytes"]),
                    clock=units["time"],
                    memory=units["memory"],
                    tasks=int(cell["measure"]["tasks"] or settings["meta_batch"]),
                    device=device_name(measurement["environment"]),
                )
            )
    return found


def at_training(measurement: dict[str, Any], method: str) -> tuple[Point, int] | None:
    """The cost with as many inner steps as the method is trained with, and that number.

    Where so many were not measured it is the cost with the most that were.
    """
    found = costs(measurement, method)
    if not found:
        return None
    trained = int(measurement["cell"]["methods"][method]["settings"]["inner_steps"])
    return next((cost for cost in found if cost.steps == trained), found[-1]), trained


def unit(quantity: str, largest: float) -> tuple[str, float]:
    """A readable unit for values up to `largest` (seconds or bytes), and its size."""
    if quantity == "time":
        return ("ms", 1e-3) if largest < 1 else ("s", 1.0)
    return ("MB", 1e6) if largest < 2e9 else ("GB", 1e9)


def text(quantity: str, value: float) -> str:
    """Seconds or bytes in a readable unit, with three digits."""
    name, factor = unit(quantity, value)
    scaled = value / factor
    decimals = max(0, 2 - math.floor(math.log10(scaled))) if scaled > 0 else 0
    return f"{scaled:,.{decimals}f} {name}"
