"""Intervals and comparisons against values worked out by hand or printed in statistical tables."""

import math

import numpy as np
import pytest
import scipy.stats

from multistep import stats
from multistep.files import UserError


def test_interval_over_episodes_uses_the_population_deviation() -> None:
    # Deviations from 60 are 40, 0, 0, -40: s^2 = 3200 / 4 (population), not 3200 / 3 (sample).
    summary = stats.over_episodes([100.0, 60.0, 60.0, 20.0])
    assert summary.mean == pytest.approx(60.0, abs=1e-12)
    assert summary.half_width == pytest.approx(1.96 * math.sqrt(800) / 2, rel=1e-12)
    assert summary.n == 4
    assert (summary.low, summary.high) == pytest.approx((60 - 27.7186, 60 + 27.7186), abs=1e-4)


def test_seeds_on_the_same_episodes_do_not_shrink_the_interval() -> None:
    row = [100.0, 80.0, 60.0, 80.0]
    assert stats.over_episodes_and_seeds([row, row, row]) == stats.over_episodes(row)


def test_seeds_that_differ_oppositely_cancel() -> None:
    summary = stats.over_episodes_and_seeds([[100.0, 60.0], [60.0, 100.0]])
    assert (summary.mean, summary.half_width, summary.n) == (80.0, 0.0, 2)


def test_seeds_with_different_numbers_of_episodes_are_refused() -> None:
    with pytest.raises(UserError, match=r"different numbers of episodes \(\[2, 3\]\)"):
        stats.over_episodes_and_seeds([[1.0, 2.0], [1.0, 2.0, 3.0]])


@pytest.mark.parametrize(
    ("values", "message"), [([], "none given"), ([1.0, math.nan], "not all are finite")]
)
def test_values_without_a_mean_are_refused(values: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        stats.over_episodes(values)


def test_spread_over_seeds_uses_the_sample_deviation() -> None:
    assert stats.over_seeds([98.0, 99.0, 100.0]) == (99.0, 1.0)
    assert stats.over_seeds([98.0]) == (98.0, None)


@pytest.mark.parametrize(
    ("degrees", "quantile"),  # two-sided 5% points of Student's t as statistical tables print them
    [(1, 12.7062), (2, 4.3027), (4, 2.7764), (30, 2.0423), (None, 1.959964)],
)
def test_t_quantile(degrees: int | None, quantile: float) -> None:
    assert stats.t_quantile(degrees, 0.975) == pytest.approx(quantile, abs=5e-5)


def test_no_episodes_reach_beyond_the_largest_half_width() -> None:
    widest = stats.over_episodes([100.0] * 590 + [0.0] * 10)
    assert stats.is_feasible(widest.mean, widest.half_width, 600)
    assert not stats.is_feasible(widest.mean, widest.half_width + 1e-6, 600)
    assert not stats.is_feasible(100.5, 0.0, 600)
    # FO-MAML, 5-way 1-shot in Table 4: 98.40 +- 1.11 over 600 episodes, where 1.0040 is the widest.
    assert stats.is_feasible(98.40, 1.00395, 600)
    assert not stats.is_feasible(98.40, 1.00405, 600)


def test_what_a_float16_mean_stands_for() -> None:
    # Between 0.5 and 1 float16 has steps of 2^-11; 0.991 is stored as 2030 / 2048.
    low, high = stats.float16_interval(99.10)
    assert low == pytest.approx(100 * 2029.5 / 2048, abs=1e-12)
    assert high == pytest.approx(100 * 2030.5 / 2048, abs=1e-12)
    low, high = stats.float16_interval(44.90)  # below one half the steps are half as wide
    assert high - low == pytest.approx(100 / 4096, abs=1e-12)
    assert low < 44.90 < high


@pytest.mark.parametrize(
    ("ours", "half_width", "paper_half_width", "within"),
    [
        (99.12, 0.0, 0.0, True),  # inside what the float16 number stands for
        (99.16, 0.0, 0.0, False),  # beyond its upper end, 99.1455
        (99.16, 0.03, 0.04, True),  # the half-widths make up for it: hypot is 0.05
        (98.90, 0.12, 0.14, False),  # 0.197 below the lower end 99.0967, tolerance 0.184
        (98.93, 0.12, 0.14, True),
    ],
)
def test_comparison(ours: float, half_width: float, paper_half_width: float, within: bool) -> None:
    mean = stats.Mean(ours, half_width, 600)
    gap, found = stats.compare(mean, 99.10, paper_half_width, float16=True)
    assert gap == pytest.approx(ours - 99.10, abs=1e-12)
    assert found is within
    _, found = stats.compare(mean, 99.10, 0.0, float16=False)  # with the printed number itself
    assert found is (abs(gap) <= half_width)


@pytest.mark.parametrize("level", [0.95, 0.995])
def test_paired_differences_have_students_interval(level: float) -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(60, 5, (2, 4))
    paired = stats.sampled((ours - theirs).tolist(), "seeds")
    right = scipy.stats.ttest_rel(ours, theirs).confidence_interval(level)
    assert paired.interval(level) == pytest.approx((right.low, right.high), rel=1e-8)
    logs = stats.log_ratio(ours.tolist(), theirs.tolist(), "rounds")
    right = scipy.stats.ttest_rel(np.log(ours), np.log(theirs)).confidence_interval(level)
    assert logs.interval(level) == pytest.approx(np.exp((right.low, right.high)), rel=1e-8)
    assert logs.shown == pytest.approx(scipy.stats.gmean(ours / theirs))


def test_errors_over_episodes_and_seeds_add_in_squares() -> None:
    rows = np.array([[1.0, 3.0, 5.0, 3.0], [2.0, 2.0, 6.0, 6.0], [0.0, 4.0, 4.0, 4.0]])
    found = stats.seeds_and_episodes(rows)
    episodes = rows.mean(0).std() / 2 * scipy.stats.norm.ppf(0.975)
    seeds = rows.mean(1).std(ddof=1) / math.sqrt(3) * scipy.stats.t.ppf(0.975, 2)
    low, high = found.interval() or (0, 0)
    assert (high - low) / 2 == pytest.approx(math.hypot(episodes, seeds), rel=1e-6)
    assert (found.value, dict(found.n)) == (rows.mean(), {"seeds": 3, "episodes": 4})
    one = stats.seeds_and_episodes(rows[:1])
    assert one.errors == ((rows[0].std() / 2, None),)
    independent = found - one
    assert independent.errors == (*found.errors, *one.errors)
    assert independent.value == pytest.approx(rows.mean() - 3)


def test_a_single_number_has_no_interval_unless_it_is_exact() -> None:
    three = stats.sampled([98.0, 99.0, 100.0], "seeds")
    assert three.half_width() == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    single, counted = stats.sampled([50.0], "seeds"), stats.Estimate(2.0, exact=True)
    assert single.interval() is None
    assert (single - stats.sampled([1.0, 3.0], "seeds")).interval() is None
    assert counted.interval() == (2.0, 2.0)


def test_equal_values_have_no_interval() -> None:
    """Three equal differences of seeds, to rounding, would have one of width zero."""
    alike = stats.sampled([51.1 - 50.1, 52.2 - 51.2, 53.3 - 52.3], "seeds")
    varied = stats.sampled([1.0, 2.0, 3.0], "seeds")
    rows = [[20.0, 30.0], [30.0, 20.0]]  # networks that are equally good
    for none in (alike, alike - varied, varied - alike, stats.seeds_and_episodes(rows)):
        assert none.interval() is None
    assert (varied - stats.Estimate(2.0, exact=True)).interval() == pytest.approx(
        [end - 2 for end in varied.interval() or ()]
    )


def test_wilson_intervals() -> None:
    low, high = stats.wilson(50, 100)  # 0.4038 to 0.5962, the textbook's example
    assert (round(low, 2), round(high, 2)) == (40.38, 59.62)
    assert stats.wilson(0, 20)[0] == 0
    assert stats.wilson(20, 20)[1] == 100


def test_a_ratio_whose_interval_ends_beyond_any_float_has_an_end() -> None:
    two = stats.sampled([0.0, 3.0], "rounds", ratio=True)
    assert two.interval(1 - 0.05 / 10_000) == (0.0, pytest.approx(1.797e308, rel=1e-3))
