"""How well a value predicts an outcome, as a mean over samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from camfaith.benchmark.results.intervals import Floats


def placed(values: Floats, outcome: NDArray[np.bool_]) -> Floats:
    """Values whose mean is the AUROC, and whose spread is its own, so that a test of means is one of the AUROC.

    A = P(x > y) + ½ P(x = y), for x a value with the outcome and y one without. V(x), the share of y below x, ties by
    half, is the placement of x, and that of y is the share of x above it. A sample stands for A + n/n₁ (V − A) with
    the outcome, n₁ of n samples, and for A + n/n₀ (V − A) without. The variance of their mean is that of DeLong, DeLong
    & Clarke-Pearson (1988), and by clusters that of Obuchowski (1997), but for the number of samples that is taken
    off by one. NaN where one of the outcomes is missing.
    """
    has, lacks = np.sort(values[outcome]), np.sort(values[~outcome])
    if not len(has) or not len(lacks):
        return np.full(len(values), np.nan)
    below = np.where(outcome, _share_below(lacks, values), 1 - _share_below(has, values))
    area = below[outcome].mean()
    weight = len(values) / np.where(outcome, len(has), len(lacks))
    found: Floats = area + weight * (below - area)
    return found


def _share_below(ordered: Floats, values: Floats) -> Any:
    """The share of numbers in order that is below each value, equal ones by half."""
    return (ordered.searchsorted(values, "left") + ordered.searchsorted(values, "right")) / (2 * len(ordered))
