"""Means with confidence intervals, whole clusters taken as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]

FEWEST = 8
"""Fewer samples, or clusters where there are clusters, have a mean and nothing more: they say nothing of others like
them."""
APART = 3
"""Fewer units that differ from the median have no interval: nearly all values are one, so the rest is unknown."""


class Interval(NamedTuple):
    """For each row: the mean of the finite values, its confidence limits, the number of values and of their units, and
    the standard deviation of a unit's part in the mean."""

    mean: Floats
    low: Floats
    high: Floats
    n: NDArray[np.int64]
    units: NDArray[np.int64]
    deviation: Floats


def mean_interval(values: Floats, units: Sequence[Any] | None = None, *, level: float = 0.95) -> Interval:
    """Means over the finite values of each row (rows × samples), with limits by Hall's transformation.

    t = (m − μ)/s is skewed where values are; g(t) = t + γt²/3 + γ²t³/27 + γ/6, with γ = skewness/√n, is not, and grows
    with t. So the limits are m − s·g⁻¹(±q), g⁻¹(y) = 3/γ·(∛(1 + γ(y − γ/6)) − 1), and q Student's quantile (Hall, "On
    the removal of skewness by transformation", JRSS-B 54(1), 1992). `docs/statistics.md` has their coverage, which is
    better than the BCa bootstrap's.

    `units` names what counts as one, an entry per sample (default: each sample for itself). The mean is over samples;
    its spread is that of the units' parts in it, n their number. Limits are NaN, n is too small, for less than `FEWEST`
    units, or where less than `APART` of them differ from the median unit.
    """
    found = _spread(values, units)
    low, high = (np.full(len(found.n), np.nan) for _ in range(2))
    shown = (found.size >= FEWEST) & (found.apart >= APART)
    limits = _limits(found.parts[shown], found.deviation[shown], found.size[shown], level)
    low[shown], high[shown] = (found.mean[shown] + limit for limit in limits)
    return Interval(found.mean, low, high, found.n, found.size, found.deviation)


def mean_tails(values: Floats, units: Sequence[Any] | None = None) -> tuple[Floats, Floats]:
    """For each row the p of the mean being greater than 0, and of its being less, by the same transformation: those at
    which a limit of the interval would be 0. Where there is no interval, p is 1, and NaN where all units are equal."""
    found = _spread(values, units)
    greater, less = np.where(found.apart > 0, 1.0, np.nan), np.where(found.apart > 0, 1.0, np.nan)
    shown = (found.size >= FEWEST) & (found.apart >= APART)
    parts, deviation, size = found.parts[shown], found.deviation[shown], found.size[shown]
    skew, t = _skew(parts, deviation, size), found.mean[shown] / deviation * np.sqrt(size)
    symmetric = t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6
    greater[shown], less[shown] = stdtr(size - 1, -symmetric), stdtr(size - 1, symmetric)
    return greater, less


class _Spread(NamedTuple):
    """For each row: the mean, the number of values and of units, the units' parts in the mean (rows × units, 0 for
    none), their deviation, and how many units differ from the median one."""

    mean: Floats
    n: NDArray[np.int64]
    size: NDArray[np.int64]
    parts: Floats
    deviation: Floats
    apart: NDArray[np.int64]


def _spread(values: Floats, units: Sequence[Any] | None) -> _Spread:
    values = np.atleast_2d(np.asarray(values, float))
    finite = np.isfinite(values)
    n, mean = finite.sum(1), means(values)
    sums, counts = by_unit(np.where(finite, values - mean[:, None], 0), finite, units)
    held = counts > 0
    size = held.sum(1)
    own = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=held)
    parts = sums * (size / np.maximum(n, 1))[:, None]
    deviation = np.where(size > 1, _deviation(parts, size), np.nan)
    return _Spread(mean, n.astype(np.int64), size.astype(np.int64), parts, deviation, _apart(own, mean))


def means(values: Floats) -> Floats:
    """The mean of each row's finite values; NaN where there is none."""
    finite = np.isfinite(values)
    n = finite.sum(1)
    found: Floats = np.divide(np.where(finite, values, 0).sum(1), n, out=np.full(len(n), np.nan), where=n > 0)
    return found


def by_unit(values: Floats, finite: NDArray[np.bool_], units: Sequence[Any] | None) -> tuple[Floats, Floats]:
    """The sum of each unit's values, and their number: rows × units."""
    if units is None:
        return values, finite.astype(float)
    names: dict[Any, int] = {}
    codes = [names.setdefault(unit, len(names)) for unit in units]
    if len(names) == len(codes):
        return values, finite.astype(float)
    member = np.zeros((len(codes), len(names)))
    member[np.arange(len(codes)), codes] = 1
    return values @ member, finite @ member


def _deviation(parts: Floats, size: NDArray[np.int64]) -> Floats:
    """√(Σ part² / (size − 1)) of each row; squares of large and small numbers stay within the range of numbers."""
    scale = np.maximum(np.abs(parts).max(1, initial=0), np.finfo(float).tiny)
    found: Floats = scale * np.sqrt(((parts / scale[:, None]) ** 2).sum(1) / np.maximum(size - 1, 1))
    return found


def _apart(own: Floats, mean: Floats) -> NDArray[np.int64]:
    """How many of a row's units (deviations from the mean, NaN is none) differ from the median one by more than
    rounding."""
    found = np.zeros(len(own), np.int64)
    some = np.isfinite(own).any(1)
    if not some.any():
        return found
    middle = np.nanmedian(own[some], axis=1, keepdims=True)
    sizes = np.nanmax(np.abs(own[some]), axis=1, keepdims=True, initial=0)  # there may be no sample at all
    rounding = 1e-12 * np.maximum(np.abs(mean[some, None]), sizes)
    found[some] = (np.abs(own[some] - middle) > rounding).sum(1)
    return found


def _limits(parts: Floats, spread: Floats, size: NDArray[np.int64], level: float) -> tuple[Floats, Floats]:
    """Both limits, as deviations from the mean, of rows of units' parts whose mean is 0; units that are none are 0."""
    error, skew = spread / np.sqrt(size), _skew(parts, spread, size)
    skew = np.where(np.abs(skew) < 1e-6, 1e-6, skew)  # where it vanishes, g is the identity
    quantile = stdtrit(size - 1, (1 + level) / 2)

    def back(y: Floats) -> Floats:
        found: Floats = 3 / skew * (np.cbrt(1 + skew * (y - skew / 6)) - 1)
        return found

    return -error * back(quantile), -error * back(-quantile)


def _skew(parts: Floats, spread: Floats, size: NDArray[np.int64]) -> Floats:
    """γ: the skewness of a row's units, over √n."""
    found: Floats = ((parts / spread[:, None]) ** 3).sum(1) / size * (size / (size - 1)) ** 1.5 / np.sqrt(size)
    return found
