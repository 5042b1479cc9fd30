"""What share of an effect an intervention explains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from camfaith.benchmark.results.intervals import FEWEST, Floats, by_unit


class Share(NamedTuple):
    """A share and its confidence limits; those are NaN where the effect may be none, and any share may be."""

    share: float
    low: float
    high: float


def explained_share(effect: Floats, left: Floats, units: Sequence[Any] | None = None) -> Share:
    """s = 1 − mean(left)/mean(effect), with Fieller's 95 % limits (1954): all s for which a t test at 5 % does not
    refute that mean(left − (1 − s)·effect) is 0; samples of one of the `units` count together."""
    n = len(effect)
    both = np.stack([effect, left])
    mean = both.mean(1) if n else np.full(2, np.nan)
    sums, _ = by_unit(both - mean[:, None], np.ones_like(both, bool), units)
    size = sums.shape[1]
    share = 1 - mean[1] / mean[0] if n and mean[0] else np.nan
    if size < FEWEST:
        return Share(float(share), np.nan, np.nan)
    parts = sums * (size / n)
    spread = stdtrit(size - 1, 0.975) ** 2 * (parts @ parts.T) / (size * (size - 1))
    square, product, rest = np.outer(mean, mean)[[0, 0, 1], [0, 1, 1]] - spread[[0, 0, 1], [0, 1, 1]]
    inside = product**2 - square * rest
    if square <= 0 or inside < 0:
        return Share(float(share), np.nan, np.nan)
    low, high = (1 - (product + way * np.sqrt(inside)) / square for way in (1, -1))
    return Share(float(share), float(low), float(high))
