"""What every step of the script is given: the device and the sizes of what runs on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from bench.problem import Problem, build, stand_in_images

Result = dict[str, Any]
MINI = "mini_5way_1shot"  # another network: it pools, and its images have colours


@dataclass(frozen=True)
class Sizes:
    """`classes` of stand-in images; `tasks` in a meta-batch, `batch` images in a mini-batch, and
    `filters` (None: the paper's). `seconds` for one rate. The checks: `some` tasks and images, and
    `iterations` of training. `small`: the transfer half's networks and images are small too.
    """

    classes: int
    tasks: int | None
    batch: int | None
    filters: int | None
    seconds: float
    some: int
    iterations: int
    small: bool


SIZES = {
    "cuda": Sizes(1200, None, None, None, 1.0, 3, 5, small=False),
    # The same steps, for trying the script: nothing that it measures says anything.
    "cpu": Sizes(20, 1, 2, 4, 0.02, 2, 2, small=True),
}


@dataclass(frozen=True)
class Stage:
    place: torch.device
    sizes: Sizes

    def problem(
        self, experiment: str, method: str, tasks: int | None, place: torch.device | None = None
    ) -> Problem:
        """A method's problem at the stage's sizes, on its device or another."""
        shape = {"classes": self.sizes.classes}
        if experiment == MINI:
            shape = {"classes": 20, "size": 36 if self.sizes.small else 84, "channels": 3}
        images = _images(**shape).to(place or self.place)
        return build(experiment, images, tasks, method, self.sizes.filters)


_images = cache(stand_in_images)


def synchronize(place: torch.device) -> None:
    """Wait for the device."""
    if place.type == "cuda":
        torch.cuda.synchronize(place)


def rate(work: Callable[[], object], seconds: float, place: torch.device) -> tuple[float, int]:
    """How often `work` is done in a second, by wall clock over about so many seconds, and how often
    that was; the device is waited for at the end alone.
    """
    for _ in range(3):  # records the graph, warms up the rest
        work()
    once = _seconds(work, 2, place) / 2
    count = max(2, round(seconds / once))
    return count / _seconds(work, count, place), count


def _seconds(work: Callable[[], object], count: int, place: torch.device) -> float:
    synchronize(place)
    start = time.perf_counter()
    for _ in range(count):
        work()
    synchronize(place)
    return time.perf_counter() - start
