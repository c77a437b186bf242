"""Means, 95% intervals, and the comparison of our numbers with printed ones.

Accuracies are in percent unless a name says otherwise. Two kinds of spread occur in the tables and
are never mixed: the interval over *test episodes* (how well 600 episodes determine the accuracy of
the networks that were trained) and the spread over *seeds* (how much training runs differ).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from multistep.files import UserError

LOG_MAX = math.log(sys.float_info.max)
ROUNDING = 1e-9  # no accuracy, logarithm or hour that was measured differs by less
Z95 = 1.96  # as the few-shot literature has it (Finn et al. 2017), not 1.959964


@dataclass(frozen=True)
class Mean:
    """A mean of n values with the half-width of its 95% interval, in the unit of the values."""

    mean: float
    half_width: float
    n: int

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width


def over_episodes(accuracies: Sequence[float]) -> Mean:
    """Mean accuracy over episodes and 1.96 s / sqrt(n), s the *population* standard deviation.

    The population form (divide by n) is the one that Finn et al. and Rajeswaran et al. use; at 600
    episodes the sample form is 0.08% wider.
    """
    values = _finite(accuracies, "episode accuracies")
    return Mean(
        float(values.mean()), Z95 * float(values.std()) / math.sqrt(len(values)), len(values)
    )


def over_episodes_and_seeds(accuracies: Sequence[Sequence[float]]) -> Mean:
    """95% interval over test episodes of the mean of several seeds; rows are seeds.

    Each episode's accuracy is averaged over the seeds first. That is right when all seeds are
    tested on the same episodes (the averages keep what the seeds share) and when they are not (the
    average of k independent values has a k-th of the variance). The seeds count as given: how much
    another set of seeds would differ is what `over_seeds` says. Raises UserError without any, or if
    they differ in the number of episodes.
    """
    if not accuracies:
        raise UserError("no seeds to average; give the episode accuracies of at least one")
    lengths = {len(row) for row in accuracies}
    if len(lengths) != 1:
        raise UserError(
            f"seeds were tested on different numbers of episodes ({sorted(lengths)}); "
            "evaluate them again with one setting"
        )
    return over_episodes(np.mean(np.asarray(accuracies, dtype=np.float64), axis=0).tolist())


def over_seeds(means: Sequence[float]) -> tuple[float, float | None]:
    """Mean and *sample* standard deviation (n - 1) of one number per seed; no sd for one seed."""
    values = _finite(means, "means of seeds")
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None


def t_quantile(degrees: int | None, probability: float) -> float:
    """Quantile of Student's t, or of the normal distribution where there are no degrees."""
    from scipy.special import ndtri, stdtrit  # type: ignore[import-untyped]

    return float(ndtri(probability) if degrees is None else stdtrit(degrees, probability))


@dataclass(frozen=True)
class Estimate:
    """A number and what it varies by, so that an interval of any level can be had of it.

    `errors`: of each source of chance its standard error and degrees of freedom (None: normal);
    their half-widths add in squares. None at all is no interval, nor is one of zero: values that
    are all equal don't say how much the next one would differ; unless the number is `exact`
    (counted or computed). `ratio`: value and errors are of a logarithm, as in `log_ratio`.
    `n`: how many of what were drawn.
    """

    value: float
    errors: tuple[tuple[float, int | None], ...] = ()
    n: Mapping[str, int] = field(default_factory=dict)
    exact: bool = False
    ratio: bool = False

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference of two that are independent (of logarithms: their ratio); without an
        interval if one has none.
        """
        known = self.known and other.known
        n = {k: min(self.n[k], other.n[k]) for k in self.n if k in other.n}
        errors = (*self.errors, *other.errors) if known else ()
        exact = self.exact and other.exact
        return Estimate(self.value - other.value, errors, n, exact, self.ratio)

    @property
    def known(self) -> bool:
        """Whether something says how much the value varies by each source of chance."""
        errors = [error for error, _ in self.errors]
        return self.exact or min(errors, default=0.0) > ROUNDING

    @property
    def shown(self) -> float:
        """The value, of a ratio itself and not its logarithm."""
        return math.exp(self.value) if self.ratio else self.value

    def half_width(self, level: float = 0.95) -> float | None:
        """Of the interval (of a ratio's: of its logarithm); None where nothing says how much the
        value varies.
        """
        p = (1 + level) / 2
        half = math.hypot(*(error * t_quantile(df, p) for error, df in self.errors))
        return half if self.known else None

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Both ends, or None as for `half_width`."""
        if (half := self.half_width(level)) is None:
            return None
        ends = self.value - half, self.value + half
        # Of two rounds at a level of many comparisons the upper end may be beyond any float.
        return (math.exp(ends[0]), math.exp(min(ends[1], LOG_MAX))) if self.ratio else ends


def sampled(values: Sequence[float], of: str, *, ratio: bool = False) -> Estimate:
    """The mean of a sample, Student's interval, none of equal values; `ratio`: of logarithms."""
    array = _finite(values, of)
    return Estimate(float(array.mean()), _student(array), {of: len(array)}, ratio=ratio)


def _student(values: npt.NDArray[np.float64]) -> tuple[tuple[float, int | None], ...]:
    n = len(values)
    return ((float(values.std(ddof=1)) / math.sqrt(n), n - 1),) if n > 1 else ()


def seeds_and_episodes(accuracies: Sequence[Sequence[float]] | npt.NDArray[np.float64]) -> Estimate:
    """The mean of test accuracies (or of paired differences of them); rows are seeds, columns test
    episodes, the same ones for all seeds.

    Two errors: over episodes, of these networks, averaged over seeds; and from two seeds on
    Student's over seeds. The second holds a part of the first, so the interval is on the safe side.
    """
    rows = np.asarray(accuracies, dtype=np.float64)
    over = over_episodes(rows.mean(axis=0).tolist())
    errors = ((over.half_width / Z95, None), *_student(rows.mean(axis=1)))
    return Estimate(float(rows.mean()), errors, {"seeds": len(rows), "episodes": rows.shape[1]})


def log_ratio(ours: Sequence[float], theirs: Sequence[float], of: str) -> Estimate:
    """Ratio of two positive measurements that were taken in turn: Student's interval of the mean
    logarithm over their rounds, so that what slows a whole round drops out.
    """
    logs = np.log(_finite(ours, of)) - np.log(_finite(theirs, of))
    return sampled(logs.tolist(), of, ratio=True)


def wilson(correct: int, count: int) -> tuple[float, float]:
    """95% interval of an accuracy in percent, from `correct` of `count` images (Wilson 1927)."""
    p, z2 = correct / count, Z95**2
    centre = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 * math.sqrt(p * (1 - p) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def is_feasible(mean: float, half_width: float, n: int) -> bool:
    """Whether n accuracies in percent can have this mean and 95% half-width (to rounding error).

    Values in [0, 1] with mean p have variance at most p(1 - p), reached when each is 0 or 1.
    """
    p = mean / 100
    return 0 <= p <= 1 and half_width <= 100 * Z95 * math.sqrt(p * (1 - p) / n) + 1e-9


def float16_interval(percent: float) -> tuple[float, float]:
    """All percentages whose fraction rounds to the same float16 number as `percent` does.

    Accuracies that passed through float16 stand for an interval: 0.049 points wide from 50% up,
    half of that below (Kim et al. 2020: every printed mean is the short form of such a number).
    """
    value = np.float16(percent / 100)
    below = np.nextafter(value, np.float16(-np.inf))
    above = np.nextafter(value, np.float16(np.inf))
    return 50 * (float(below) + float(value)), 50 * (float(value) + float(above))


def compare(
    ours: Mean, paper: float, paper_half_width: float, *, float16: bool
) -> tuple[float, bool]:
    """Our mean minus a printed one, in points, and whether the joint 95% interval holds it.

    Both come with 95% half-widths over their test episodes, which are independent, so the
    half-widths add in squares. If the printed mean went through float16, the distance is taken from
    the nearest end of what it stands for.
    """
    low, high = float16_interval(paper) if float16 else (paper, paper)
    distance = max(low - ours.mean, ours.mean - high, 0.0)
    return ours.mean - paper, distance <= math.hypot(ours.half_width, paper_half_width)


def _finite(values: Sequence[float], what: str) -> npt.NDArray[np.float64]:
    """The values as float64, or a UserError if there are none or one is not a finite number."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise UserError(f"{what}: none given")
    if not np.isfinite(array).all():
        raise UserError(f"{what}: not all are finite numbers; the run that made them diverged")
    return array
