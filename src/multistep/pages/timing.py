"""Seconds per epoch of meta-transfer, from measurements of single mini-batches."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from multistep import stats
from multistep.pages.query import Point, device_name

_SCHEMES = {"keep": "the graph is kept", "replay": "gradients are replayed"}
_FEATURES = {"batch": "once per mini-batch", "step": "at every use"}


def epoch_times(measurement: dict[str, Any] | None, methods: Collection[str]) -> dict[str, Point]:
    """Seconds per epoch of those `methods` that were measured, in their order, and how."""
    found: dict[str, Point] = {}
    if measurement is None:
        return found
    rows = {row["method"]: row for row in measurement["rows"]}
    for method in (method for method in methods if method in rows):
        settings = measurement["cell"]["methods"][method]["settings"]
        iterations = measurement["iterations_per_epoch"]
        times = rows[method]["seconds"]
        mean, sd = stats.over_seeds(times)  # the same formulas, over mini-batches
        width = None if sd is None else iterations * stats.Z95 * sd / math.sqrt(len(times))
        found[method] = Point(
            method=method,
            seconds=iterations * mean,  # of training alone
            seconds_sd=None if sd is None else math.sqrt(iterations) * sd,  # as if independent
            seconds_half_width=width,  # 95% interval of `seconds`
            batches=len(times),  # timed
            iterations=iterations,  # mini-batches of an epoch
            bytes=int(rows[method]["bytes"]),
            clock=measurement["unit"]["time"],
            memory=measurement["unit"]["memory"],
            device=device_name(measurement["environment"]),
            batch_size=settings["batch_size"],
            # Scratch has none of these.
            **{key: settings.get(key, "") for key in ("scheme", "source_features", "source")},
        )
    return found


def relative(time: Point | None, to: Point | None) -> tuple[float | None, float | None]:
    """Seconds relative to another's, and the half-width of the 95% interval (first order)."""
    if time is None or to is None:
        return None, None
    ratio = time.seconds / to.seconds
    if time is to or time.seconds_half_width is None or to.seconds_half_width is None:
        return ratio, None
    parts = (one.seconds_half_width / one.seconds for one in (time, to))
    return ratio, ratio * math.hypot(*parts)


def how(times: Sequence[Any]) -> str:
    """How epoch times were measured, as one sentence; differing values are joined."""
    if not times:
        return "Not measured."

    def values(key: str) -> str:
        return " or ".join(dict.fromkeys(str(getattr(time, key)) for time in times))

    schemes = " or ".join(dict.fromkeys(_SCHEMES[time.scheme] for time in times if time.scheme))
    features = " or ".join(
        dict.fromkeys(_FEATURES[t.source_features] for t in times if t.source_features)
    )
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
