"""Differences between two methods on the images that both have a value for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from camfaith.benchmark.results.intervals import FEWEST, Floats, mean_interval
from camfaith.benchmark.results.signflip import sign_flip

TIED = 1e-4
POWER = 0.8
SIGN = {"higher": 1.0, "lower": -1.0}


def differences(first: Floats, second: Floats, sign: float | Floats = 1.0) -> Floats:
    """first − second, times `sign`, so that it is positive where the first is better; NaN where either is missing.
    Differences of less than `TIED` of the values' size are ties, 0: maps that are equal in theory differ by rounding in
    practice."""
    found: Floats = np.asarray(sign * (first - second), dtype=np.float64)
    with np.errstate(invalid="ignore"):
        tied = np.abs(first - second) <= TIED * np.maximum(np.abs(first), np.abs(second))
    return np.where(tied & np.isfinite(found), 0.0, np.where(np.isfinite(found), found, np.nan))


class Paired(NamedTuple):
    """For each row of differences their `Interval`, the number of ties among them, and the two one-sided p of the
    sign-flip test, for the mean being greater and less."""

    mean: Floats
    low: Floats
    high: Floats
    n: NDArray[np.int64]
    units: NDArray[np.int64]
    deviation: Floats
    ties: NDArray[np.int64]
    greater: Floats
    less: Floats

    @property
    def p(self) -> Floats:
        """Of the mean being other than 0."""
        found: Floats = np.minimum(1, 2 * np.minimum(self.greater, self.less))
        return found


def detectable(deviation: Floats | float, units: NDArray[np.int64] | int, level: float) -> Floats:
    """The smallest mean difference that a two-sided test at `level` finds with a chance of `POWER`:
    (t_{1−level/2} + t_POWER) · deviation / √units, with Student's quantiles; NaN for less than `FEWEST` units."""
    free = np.maximum(units - 1, 1)
    needed: Floats = (stdtrit(free, 1 - level / 2) + stdtrit(free, POWER)) * deviation / np.sqrt(free + 1)
    return np.where(units >= FEWEST, needed, np.nan)


def enough(effect: float, deviation: float, units: int, level: float) -> int:
    """How many units one test at `level` needs to refute, with a chance of `POWER`, what lies `effect` away from the
    mean, if mean and spread stay as they are: n = ((z_{1−level} + z_POWER) · deviation / effect)²; more than there are,
    and no fewer than an exact test needs."""
    z = float(ndtri(1 - level) + ndtri(POWER))
    count = math.ceil((z * deviation / effect) ** 2)
    return int(max(count, units + 1, math.ceil(-math.log2(level))))


def paired(found: Floats, units: Sequence[Any] | None = None) -> Paired:
    """What rows of differences (rows × images) say of images like these."""
    found = np.atleast_2d(found)
    return Paired(*mean_interval(found, units), (found == 0).sum(1), *sign_flip(found, units))
