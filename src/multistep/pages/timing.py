"""Seconds per epoch of meta-transfer, from measurements of single mini-batches."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from multistep import stats
from multistep.pages.query import device_name

_SCHEMES = {"keep": "the graph is kept", "replay": "gradients are replayed"}
_FEATURES = {"batch": "once per mini-batch", "step": "at every use"}


@dataclass(frozen=True)
class EpochTime:
    """One method's seconds per epoch of training alone, and how they were measured."""

    method: str
    seconds: float  # mean seconds of a mini-batch × mini-batches of an epoch
    seconds_sd: float | None  # of an epoch, taking its mini-batches as independent
    seconds_half_width: float | None  # 95% interval of `seconds`
    batches: int  # timed
    iterations: int  # mini-batches of an epoch
    bytes: int
    batch_size: int
    scheme: str
    source_features: str
    source: str
    clock: str
    memory: str
    device: str

    def relative(self, to: EpochTime) -> tuple[float, float | None]:
        """Seconds relative to another's, and the half-width of the 95% interval (first order)."""
        ratio = self.seconds / to.seconds
        if self is to or self.seconds_half_width is None or to.seconds_half_width is None:
            return ratio, None
        ours, theirs = self.seconds_half_width / self.seconds, to.seconds_half_width / to.seconds
        return ratio, ratio * math.hypot(ours, theirs)


def epoch_times(measurement: dict[str, Any], methods: Collection[str]) -> dict[str, EpochTime]:
    """The epoch times of those `methods` that were measured, in their order."""
    rows = {row["method"]: row for row in measurement["rows"]}
    return {method: _epoch_time(measurement, rows[method]) for method in methods if method in rows}


def how(times: Sequence[Any]) -> str:
    """How epoch times were measured, as one sentence; differing values are joined.

    `times` are `EpochTime`s, or rows and points that have their fields.
    """
    if not times:
        return "Not measured."

    def values(key: str) -> str:
        return " or ".join(dict.fromkeys(str(getattr(time, key)) for time in times))

    schemes = " or ".join(dict.fromkeys(_SCHEMES[time.scheme] for time in times))
    features = " or ".join(dict.fromkeys(_FEATURES[time.source_features] for time in times))
    return (
        f"Measured: {values('batches')} mini-batches of {values('batch_size')} images of each "
        f"method after a warm-up, methods interleaved, {values('clock')} without loading and "
        f"evaluation, scaled to an epoch; {schemes}; source features {features}; "
        f"device: {values('device')}."
    )


def text(seconds: float, spread: float | None = None) -> str:
    """Seconds with about four digits, their spread with as many decimals."""
    decimals = 3 if seconds < 10 else 2 if seconds < 100 else 1
    return " ± ".join(f"{x:,.{decimals}f}" for x in (seconds, spread) if x is not None)


def _epoch_time(measurement: dict[str, Any], row: dict[str, Any]) -> EpochTime:
    settings = measurement["cell"]["methods"][row["method"]]["settings"]
    iterations = int(measurement["iterations_per_epoch"])
    mean, sd = stats.over_seeds(row["seconds"])  # the same formulas, over mini-batches
    n = len(row["seconds"])
    return EpochTime(
        method=row["method"],
        seconds=iterations * mean,
        seconds_sd=None if sd is None else math.sqrt(iterations) * sd,
        seconds_half_width=None if sd is None else iterations * stats.Z95 * sd / math.sqrt(n),
        batches=n,
        iterations=iterations,
        bytes=int(row["bytes"]),
        batch_size=int(settings["batch_size"]),
        scheme=settings["scheme"],
        source_features=settings["source_features"],
        source=settings["source"],
        clock=measurement["unit"]["time"],
        memory=measurement["unit"]["memory"],
        device=device_name(measurement["environment"]),
    )
