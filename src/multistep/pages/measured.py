"""Measured times and memory for readers: units, texts, how epochs were timed."""

import math

from multistep.pages import DataFrame
from multistep.pages.layout import joined, known

LABELS = {
    "process seconds": "process time",
    "CUDA-event seconds": "CUDA-event time",
    "bytes saved for backward per task": "saved for backward per task",
    "peak allocated bytes": "peak allocated",
}
_SCHEMES = {"keep": "the graph is kept", "replay": "gradients are replayed"}
_FEATURES = {"batch": "once per mini-batch", "step": "at every use"}


def unit(quantity: str, largest: float) -> tuple[str, float]:
    """A readable unit for values up to `largest` (seconds or bytes), and its size."""
    if quantity == "memory":
        return ("MB", 1e6) if largest < 2e9 else ("GB", 1e9)
    if largest < 300:
        return ("ms", 1e-3) if largest < 1 else ("s", 1.0)
    return ("min", 60.0) if largest < 3 * 3600 else ("h", 3600.0)


def text(quantity: str, value: float) -> str:
    """Seconds or bytes in a readable unit, with three digits."""
    name, factor = unit(quantity, value)
    scaled = value / factor
    decimals = max(0, 2 - math.floor(math.log10(scaled))) if scaled > 0 else 0
    return f"{scaled:,.{decimals}f} {name}"


def seconds(value: float, spread: float | None = None) -> str:
    """Seconds with about four digits, their spread, if it is known, with as many decimals."""
    decimals = 3 if value < 10 else 2 if value < 100 else 1
    return " ± ".join(f"{x:,.{decimals}f}" for x in (value, spread) if known(x))


def how(times: DataFrame) -> str:
    """How the epochs of `query.epoch_times` were measured, as one sentence."""
    if times.empty:
        return "Not measured."

    def said(key: str, words: dict[str, str] | None = None) -> str:
        values = times[key][times[key] != ""]
        return joined(values.map(words) if words else values)

    return (
        f"Measured: {said('batches')} mini-batches of {said('batch_size')} images of each method "
        f"after a warm-up, methods interleaved, {said('clock')} without loading and evaluation, "
        f"scaled to an epoch; {said('scheme', _SCHEMES)}; source features "
        f"{said('source_features', _FEATURES)}; device: {said('device')}."
    )
