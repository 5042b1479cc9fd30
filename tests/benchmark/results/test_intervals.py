"""Intervals hold the mean as often as they say, and are refused where n is too small to know."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import skew, t

from camfaith.benchmark.results.intervals import Floats, mean_interval, mean_tails

SKEWED = np.random.default_rng(3).exponential(size=32) ** 1.5


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_limits_are_where_halls_statistic_is_students_quantile(level: float) -> None:
    found, n = mean_interval(SKEWED, level=level), len(SKEWED)
    for limit, way in ((found.low[0], 1), (found.high[0], -1)):
        student = (SKEWED.mean() - limit) / (SKEWED.std(ddof=1) / np.sqrt(n))
        g = skew(SKEWED) / np.sqrt(n)
        hall = student + g * student**2 / 3 + g**2 * student**3 / 27 + g / 6
        assert hall == pytest.approx(way * t.ppf((1 + level) / 2, n - 1))


@pytest.mark.parametrize("units", [None, np.arange(32) // 3], ids=["samples", "clusters"])
def test_tails_are_those_at_which_a_limit_would_be_zero(units: Floats | None) -> None:
    found = mean_interval(SKEWED, units)
    assert mean_tails(SKEWED - found.low, units)[0] == pytest.approx(0.025)
    assert mean_tails(SKEWED - found.high, units)[1] == pytest.approx(0.025)
    few = np.array([[0.3] * 32, [0.0] * 28 + [1.0] * 4, [0.0] * 30 + [1.0] * 2])
    greater, less = mean_tails(few)
    assert np.isnan([greater[0], less[0]]).all()
    assert (greater[2], less[2]) == (1, 1)
    assert greater[1] < 0.05 < less[1]


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_the_size_of_numbers_does_not_matter(size: float) -> None:
    plain, found = mean_interval(SKEWED), mean_interval(size * SKEWED)
    assert (found.low[0] / size, found.high[0] / size) == pytest.approx((plain.low[0], plain.high[0]))


DRAWN: dict[str, tuple[Callable[[np.random.Generator, tuple[int, int]], Floats], float]] = {
    "normal": (lambda random, shape: random.normal(1, 1, shape), 1),
    "exponential": (lambda random, shape: random.exponential(size=shape), 1),
    "one in ten is not 0": (lambda random, shape: (random.random(shape) < 0.1) * random.beta(2, 2, shape), 0.05),
}


@pytest.mark.parametrize("drawn", DRAWN)
@pytest.mark.parametrize("n", [8, 16, 40])
def test_an_interval_that_is_shown_seldom_misses_the_mean(drawn: str, n: int) -> None:
    draw, mean = DRAWN[drawn]
    found = mean_interval(draw(np.random.default_rng(0), (4000, n)))
    missed = (found.low > mean) | (found.high < mean)
    assert missed.mean() < (0.08 if drawn == "exponential" and n < 40 else 0.06)
    assert np.isfinite(found.low).mean() > (0.95 if mean == 1 else 0.03)


def test_a_cluster_interval_is_that_of_the_cluster_means_where_clusters_are_equal() -> None:
    values = np.random.default_rng(5).normal(size=(12, 4))
    of_samples = mean_interval(values.ravel(), np.repeat(np.arange(12), 4))
    of_means = mean_interval(values.mean(1))
    assert (of_samples.low[0], of_samples.high[0]) == pytest.approx((of_means.low[0], of_means.high[0]))


def test_missing_values_leave_the_interval_of_what_is_there() -> None:
    holes = np.insert(SKEWED, [0, 7, 31], np.nan)
    full, holed = mean_interval(SKEWED), mean_interval(holes, range(35))
    assert holed.n[0] == 32
    assert (holed.low[0], holed.high[0]) == pytest.approx((full.low[0], full.high[0]))


@pytest.mark.parametrize(
    ("values", "units", "mean"),
    [
        ([np.nan] * 9, None, np.nan),
        ([2.0], None, 2),
        ([1.0, 2.0] * 3 + [1.5], None, 1.5),
        ([0.3] * 32, None, 0.3),
        ([0.0] * 28 + [1.0] * 2, None, 1 / 15),
        ([1.0, 2.0, 3.0] * 10, ["a"] * 30, 2),
        (list(range(16)), ["a", "b"] * 8, 7.5),
    ],
    ids=["nothing", "one", "seven", "equal", "but two equal", "one cluster", "two clusters"],
)
def test_where_n_is_too_small_there_is_a_mean_and_no_interval(
    values: list[float], units: list[str] | None, mean: float
) -> None:
    found = mean_interval(np.array(values), units)
    assert found.mean[0] == pytest.approx(mean, nan_ok=True)
    assert np.isnan([found.low[0], found.high[0]]).all()
