"""Several claims made together: of all of them none is wrong, but for a chance of `LEVEL`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from camfaith.benchmark.results.intervals import Floats

LEVEL = 0.05
"""The chance that a family of claims holds a wrong one."""


def holm(p: Floats) -> Floats:
    """The p of a family of tests, adjusted so that those of at most `LEVEL` may be claimed: in order, the largest so
    far of (m − k + 1)·p_(k) (Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6(2),
    1979). NaN, where nothing was tested, stays NaN and is none of the m.

    Statsmodels has it too, but takes a tenth of a second for each call.
    """
    order = np.argsort(p)[: np.isfinite(p).sum()]
    adjusted = np.full(np.shape(p), np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.arange(len(order), 0, -1) * np.asarray(p)[order]))
    return adjusted


def levels(p: Floats, level: float) -> Floats:
    """What Holm's procedure compares each p with."""
    found = np.full(len(p), level)
    known: NDArray[np.intp] = np.flatnonzero(~np.isnan(p))
    found[known[np.argsort(p[known], kind="stable")]] = level / np.arange(len(known), 0, -1)
    return found
