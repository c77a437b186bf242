"""Means, 95% intervals, and the comparison of our numbers with printed ones.

Accuracies are in percent unless a name says otherwise. Two kinds of spread occur in the tables and
are never mixed: the interval over *test episodes* (how well 600 episodes determine the accuracy of
the networks that were trained) and the spread over *seeds* (how much training runs differ).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from multistep.files import UserError

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
    another set of seeds would differ is what `over_seeds` says.
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


def t_interval(means: Sequence[float]) -> Mean:
    """Mean of one number per seed with its 95% Student t interval, t(n-1) s / sqrt(n)."""
    mean, deviation = over_seeds(means)
    if deviation is None:
        raise UserError("an interval over seeds needs at least two seeds; one was given")
    n = len(means)
    return Mean(mean, t_quantile(n - 1) * deviation / math.sqrt(n), n)


def t_quantile(degrees: int, probability: float = 0.975) -> float:
    """Quantile of Student's t for whole degrees of freedom, to 1e-10, by bisection."""
    if degrees < 1 or not 0.5 < probability < 1:
        raise ValueError(f"no t quantile for {degrees} degrees of freedom at {probability}")
    low, high = 0.0, 1.0
    while _t_distribution(high, degrees) < probability:
        high *= 2
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        if _t_distribution(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _t_distribution(t: float, degrees: int) -> float:
    """P(T <= t) for t >= 0: the finite series of Abramowitz and Stegun 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(1 + odd, degrees, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    within = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return 0.5 + within / 2


@dataclass(frozen=True)
class Estimate:
    """A number and what it varies by, so that an interval of any level can be had of it.

    `errors`: of each source of chance its standard error and degrees of freedom (None: normal);
    their half-widths add in squares. None at all is no interval, unless the number is `exact`
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
        known = all(one.errors or one.exact for one in (self, other))
        n = {k: min(self.n[k], other.n[k]) for k in self.n if k in other.n}
        errors = (*self.errors, *other.errors) if known else ()
        exact = self.exact and other.exact
        return Estimate(self.value - other.value, errors, n, exact, self.ratio)

    @property
    def shown(self) -> float:
        """The value, of a ratio itself and not its logarithm."""
        return math.exp(self.value) if self.ratio else self.value

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Both ends, or None where nothing says how much the value varies."""
        if not self.errors and not self.exact:
            return None
        p = (1 + level) / 2
        half = math.hypot(
            *(
                error * (NormalDist().inv_cdf(p) if df is None else t_quantile(df, p))
                for error, df in self.errors
            )
        )
        ends = self.value - half, self.value + half
        return (math.exp(ends[0]), math.exp(ends[1])) if self.ratio else ends


def sampled(values: Sequence[float], of: str, *, ratio: bool = False) -> Estimate:
    """The mean of a sample, Student's interval, none of a single one; `ratio`: of logarithms."""
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


def log_ratio(ours: Sequence[float], theirs: Sequence[float], of: str = "rounds") -> Estimate:
    """Ratio of two positive measurements that were taken in turn: Student's interval of the mean
    logarithm over their rounds, so that what slows a whole round drops out.
    """
    logs = np.log(_finite(ours, of)) - np.log(_finite(theirs, of))
    return sampled(logs.tolist(), of, ratio=True)


def largest_half_width(mean: float, n: int) -> float:
    """The widest 95% half-width that n accuracies between 0 and 100% with this mean can have.

    Values in [0, 1] with mean p have variance at most p(1 - p), reached when each is 0 or 1.
    """
    if not 0 <= mean <= 100:
        raise UserError(f"a mean accuracy of {mean} is outside 0 to 100 percent")
    p = mean / 100
    return 100 * Z95 * math.sqrt(p * (1 - p) / n)


def wilson(correct: int, count: int) -> tuple[float, float]:
    """95% interval of an accuracy in percent, from `correct` of `count` images (Wilson 1927)."""
    p, z2 = correct / count, Z95**2
    centre = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 * math.sqrt(p * (1 - p) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def is_feasible(mean: float, half_width: float, n: int) -> bool:
    """Whether n accuracies can have this mean and 95% half-width (to rounding error)."""
    return half_width <= largest_half_width(mean, n) + 1e-9


def rescaled_half_width(half_width: float, meta_batch: int) -> float:
    """The half-width over all test episodes, from one computed as 1.96 s / sqrt(episodes / B).

    The Omniglot intervals printed by Kim et al. (2020, Table 4) are of that kind, B being the
    meta-batch: several are wider than 600 episodes allow, and all agree with this reading.
    """
    return half_width / math.sqrt(meta_batch)


def float16_interval(percent: float) -> tuple[float, float]:
    """All percentages whose fraction rounds to the same float16 number as `percent` does.

    Accuracies that passed through float16 stand for an interval: 0.049 points wide from 50% up,
    half of that below (Kim et al. 2020: every printed mean is the short form of such a number).
    """
    value = np.float16(percent / 100)
    below = np.nextafter(value, np.float16(-np.inf))
    above = np.nextafter(value, np.float16(np.inf))
    return 50 * (float(below) + float(value)), 50 * (float(value) + float(above))


@dataclass(frozen=True)
class Comparison:
    """Ours minus the paper's (`gap`, in points) and whether the joint 95% interval holds it."""

    gap: float
    tolerance: float
    within: bool


def compare(ours: Mean, paper: float, paper_half_width: float, *, float16: bool) -> Comparison:
    """Compare our mean with a printed one, both with 95% half-widths over their test episodes.

    The two sets of episodes are independent, so the half-widths add in squares. If the printed mean
    went through float16, the distance is taken from the nearest end of what it stands for.
    """
    low, high = float16_interval(paper) if float16 else (paper, paper)
    distance = max(low - ours.mean, ours.mean - high, 0.0)
    tolerance = math.hypot(ours.half_width, paper_half_width)
    return Comparison(ours.mean - paper, tolerance, distance <= tolerance)


def _finite(values: Sequence[float], what: str) -> npt.NDArray[np.float64]:
    """The values as float64, or a UserError if there are none or one is not a finite number."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise UserError(f"{what}: none given")
    if not np.isfinite(array).all():
        raise UserError(f"{what}: not all are finite numbers; the run that made them diverged")
    return array
