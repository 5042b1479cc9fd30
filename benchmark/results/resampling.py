"""Bootstrap resamples of units, for what has no formula of its own: how firm an order is."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from camfaith.benchmark.results.intervals import Floats

RESAMPLES = 2000


@lru_cache(maxsize=1)
def resamples(units: int, seed: int) -> Floats:
    """How often each unit is in each resample: units × `RESAMPLES`; the same for the same number and seed."""
    drawn = np.random.default_rng([seed, units]).integers(units, size=(RESAMPLES, units))
    drawn += np.arange(RESAMPLES)[:, None] * units
    counts: Floats = np.bincount(drawn.ravel(), minlength=RESAMPLES * units).reshape(RESAMPLES, units).T.astype(float)
    counts.flags.writeable = False
    return counts
