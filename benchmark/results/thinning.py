"""Whether a curve has points enough: the order of methods by half of the points."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from camfaith.benchmark.results.agreement import signs_of, tau_b
from camfaith.benchmark.results.cells import common
from camfaith.benchmark.results.intervals import Floats

FEWEST_POINTS = 5
"""Fewer points have no half that is a curve."""


def thinned_agreement(lines: pd.DataFrame, methods: Collection[str]) -> float:
    """Kendall's τ_b between two orders of methods: by the mean area under their curves, and by the same with every
    second point left out (both ends stay).

    `lines` are the curves of one metric on one model and data set, one row each (method, sample, x, y). NaN for less
    than three methods, and for curves of less than `FEWEST_POINTS` points.
    """
    kept = lines[lines["method"].isin(list(methods)) & (lines["y"].map(len) >= FEWEST_POINTS)]
    kept = kept.drop_duplicates(["method", "sample"], keep="last")
    if kept["method"].nunique() < 3:
        return np.nan
    places, samples = (pd.factorize(kept[column])[0] for column in ("method", "sample"))
    areas = np.full((2, places.max() + 1, samples.max() + 1), np.nan)
    areas[:, places, samples] = [_areas(kept, step) for step in (1, 2)]
    beside, images = common(areas[0])
    if beside.sum() < 3 or not images.any():
        return np.nan
    whole, half = (signs_of(of[np.ix_(beside, images)].mean(1, keepdims=True)) for of in areas)
    return float(tau_b(whole, half)[0])


def _areas(lines: pd.DataFrame, step: int) -> Floats:
    """The area under each curve by trapezoids, from every `step`-th point and the last."""
    found = np.full(len(lines), np.nan)
    sizes = lines["y"].map(len).to_numpy()
    for size in np.unique(sizes):
        own = np.flatnonzero(sizes == size)
        kept = np.unique([*range(0, size, step), size - 1])
        x, y = (np.stack([*lines[axis].iloc[own]])[:, kept] for axis in ("x", "y"))
        found[own] = np.trapezoid(y, x, axis=1)
    return found
