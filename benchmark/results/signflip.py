"""The test that decides whether paired differences have a mean other than 0: their signs are flipped.

If a method is no better than the other, a difference is as likely to have either sign, whatever its size. So the
observed sum S = Σ d_i is compared with all sums Σ ± d_i (Fisher 1935). For independent differences whose distribution
is symmetric the test is exact; for others it is right in the limit, since the sums' variance is Σ d_i² (Romano, "On the
behavior of randomization tests without a group invariance assumption", JASA 85, 1990).

Up to `EXACT` differences all sums are counted. For more, P(Σ ± d_i ≥ S) is Lugannani & Rice's saddlepoint approximation
with K(t) = Σ log cosh(t d_i) (Robinson, "Saddlepoint approximations for permutation tests and confidence intervals",
JRSS-B 44(1), 1982), at S − min |d_i|, the middle between S and the next smaller sum where all sizes are equal, and on
the safe side elsewhere. It needs no random numbers, and is right for the small p that many comparisons ask for, where
`scipy.stats.permutation_test` would need millions of draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from camfaith.benchmark.results.intervals import FEWEST, Floats, by_unit

EXACT = 12


class SignFlip(NamedTuple):
    """For each row the p of the mean being greater, and of its being less, each one-sided; NaN for too few units."""

    greater: Floats
    less: Floats


def sign_flip(differences: Floats, units: Sequence[Any] | None = None) -> SignFlip:
    """Test each row of paired differences (rows × samples, NaN is none). Differences of one of the `units` are flipped
    together; less than `FEWEST` units give no p. A difference of 0 is a tie: it is on no side."""
    differences = np.atleast_2d(np.asarray(differences, float))
    finite = np.isfinite(differences)
    sums, counts = by_unit(np.where(finite, differences, 0), finite, units)
    size = np.abs(sums).max(1, initial=0, keepdims=True)
    sums = np.divide(sums, size, out=np.zeros_like(sums), where=size > 0)
    sums[np.abs(sums) < 1e-12] = 0
    enough = (counts > 0).sum(1) >= FEWEST
    greater, less = (np.where(enough, _tail(way * sums), np.nan) for way in (1, -1))
    return SignFlip(greater, less)


def _tail(values: Floats) -> Floats:
    """P(Σ ± d ≥ Σ d) for each row."""
    found = np.ones(len(values))
    held = (values != 0).sum(1)
    for count in range(1, EXACT + 1):
        rows = np.flatnonzero(held == count)
        order = np.argsort(values[rows] == 0, axis=1, kind="stable")[:, :count]
        found[rows] = _counted(np.take_along_axis(values[rows], order, 1))
    rows = np.flatnonzero(held > EXACT)
    found[rows] = _approximate(values[rows])
    return found


def _counted(values: Floats) -> Floats:
    """The share of all 2^n sums that are not less than the observed one."""
    signs = 1 - 2 * (np.arange(2 ** values.shape[1])[:, None] >> np.arange(values.shape[1]) & 1)
    share: Floats = (values @ signs.T >= values.sum(1, keepdims=True) - 1e-9).mean(1)
    return share


def _approximate(values: Floats) -> Floats:
    sizes = np.abs(values)
    least = np.where(sizes > 0, sizes, np.inf).min(1, initial=np.inf)
    sought = values.sum(1) - least
    found, whole = np.zeros(len(values)), sizes.sum(1)
    within = np.abs(sought) < whole * (1 - 1e-12)  # beyond, no sum is
    found[within] = _upper(sizes[within], np.abs(sought[within]))
    found = np.where(sought < 0, 1 - found, found)
    return np.clip(found, 0.5 ** (sizes > 0).sum(1), 1)


def _upper(sizes: Floats, sought: Floats) -> Floats:
    """Lugannani & Rice's P(Σ ± d ≥ c) for c ≥ 0."""
    t = _saddlepoint(sizes, sought)
    powers = t[:, None] * sizes
    k = (powers + np.log1p(np.exp(-2 * powers)) - np.log(2)).sum(1)
    second = (sizes**2 * _bend(powers)).sum(1)
    w, u = np.sqrt(np.maximum(2 * (t * sought - k), 0)), t * np.sqrt(second)
    far: NDArray[np.bool_] = w > 1e-3  # at w = 0 the correction vanishes
    w, u = np.where(far, w, 1), np.where(far, u, 1)
    tail = ndtr(-w) + np.exp(-(w**2) / 2) / np.sqrt(2 * np.pi) * (1 / u - 1 / w)
    return np.where(far, tail, 0.5)


def _saddlepoint(sizes: Floats, sought: Floats) -> Floats:
    """The t ≥ 0 with K'(t) = Σ d tanh(t d) = c. Since tanh y ≤ y, c/Σd² is below it, and since K' bends down, Newton's
    steps from there never pass it. What is left to the greatest sum, Σ d(1 − tanh(t d)), is precise where K' is not."""
    found: Floats = sought / (sizes**2).sum(1)
    rest = sizes.sum(1) - sought
    rows = np.arange(len(sizes))
    for _ in range(100):
        own = sizes[rows]
        powers = found[rows, None] * own
        small = np.exp(-2 * powers)
        missing = (own * 2 * small / (1 + small)).sum(1) - rest[rows]
        step = missing / (own**2 * _bend(powers)).sum(1)
        found[rows] += step
        rows = rows[step > 1e-9 * found[rows]]
        if not len(rows):
            break
    return found


def _bend(powers: Floats) -> Floats:
    """1 − tanh²."""
    small = np.exp(-2 * powers)
    bend: Floats = 4 * small / (1 + small) ** 2
    return bend
