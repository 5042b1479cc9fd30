"""The sign-flip test is what counting all sign changes gives, and what it approximates for many."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom, norm, permutation_test

from camfaith.benchmark.results.intervals import Floats
from camfaith.benchmark.results.signflip import EXACT, sign_flip

DRAWN: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal": lambda random, n: random.normal(0.4, 1, n),
    "skewed": lambda random, n: random.exponential(size=n) - 0.6,
    "with ties": lambda random, n: random.integers(-1, 3, n).astype(float),
    "heavy": lambda random, n: random.lognormal(0, 2, n) * random.choice([-1, 1], n, p=[0.3, 0.7]),
}


@pytest.mark.parametrize("drawn", DRAWN)
@pytest.mark.parametrize("n", [8, 12, 16])
def test_it_is_the_permutation_test_of_the_mean(drawn: str, n: int) -> None:
    random = np.random.default_rng(n)
    for _ in range(8 if n <= EXACT else 2):
        values = DRAWN[drawn](random, n)
        found = sign_flip(values)
        for side, own in (("greater", found.greater[0]), ("less", found.less[0])):
            exact = permutation_test(
                (values,), np.mean, permutation_type="samples", n_resamples=2**n, alternative=side, vectorized=True
            )
            if n <= EXACT:
                assert own == pytest.approx(exact.pvalue, rel=1e-9)
            elif exact.pvalue <= 0.2:
                assert 0.75 * exact.pvalue - 0.5**n <= own <= 2 * exact.pvalue


@pytest.mark.parametrize("n", [13, 40, 300])
def test_equal_sizes_make_it_the_sign_test_as_far_out_as_it_goes(n: int) -> None:
    more = np.arange(n // 2 + 1, n + 1)
    values = np.where(np.arange(n) < more[:, None], 0.3, -0.3)
    sign = binom.sf(more - 1, n, 0.5)
    found = sign_flip(values).greater
    assert (found >= 0.49 * sign).all()
    assert found[sign > 1e-12] == pytest.approx(sign[sign > 1e-12], rel=0.55)
    assert found[sign > 1e-3] == pytest.approx(sign[sign > 1e-3], rel=0.2)


def test_where_all_are_on_one_side_the_other_is_not_shown() -> None:
    found = sign_flip(-np.random.default_rng(1).uniform(0.08, 0.12, 32))
    assert found.greater[0] == 1
    assert found.less[0] < 1e-8


def test_many_differences_make_it_the_normal_test() -> None:
    values = np.random.default_rng(0).normal(0.1, 1, 2000)
    expected = norm.sf(values.sum() / np.sqrt((values**2).sum()))
    assert sign_flip(values).greater[0] == pytest.approx(expected, rel=0.05)


def test_a_cluster_flips_whole() -> None:
    values = np.random.default_rng(2).normal(0.5, 1, (10, 3))
    whole = sign_flip(values.ravel(), np.repeat(np.arange(10), 3))
    assert whole.greater[0] == sign_flip(values.sum(1)).greater[0]


def test_fewer_than_eight_units_decide_nothing_and_ties_are_on_no_side() -> None:
    assert np.isnan(sign_flip(np.ones(7)).greater[0])
    assert np.isnan(sign_flip(np.ones(16), ["a", "b"] * 8).greater[0])
    assert sign_flip(np.ones(8)).greater[0] == 0.5**8
    assert sign_flip(np.r_[np.ones(8), np.zeros(30), np.nan]).greater[0] == 0.5**8
    assert sign_flip(np.zeros(20)).greater[0] == sign_flip(np.zeros(20)).less[0] == 1
