"""Whether metrics order the methods alike."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from camfaith.benchmark.results.cells import Block, common
from camfaith.benchmark.results.intervals import FEWEST, Floats, by_unit
from camfaith.benchmark.results.paired import SIGN, differences

RESAMPLES = 2000
AGREEMENT_COLUMNS = ("model", "dataset", "first", "second", "tau", "low", "high", "methods", "n", "units")


def agree(found: Sequence[Block], *, seed: int = 0) -> pd.DataFrame:
    """One row per model × data set and pair of metrics (their main columns); `AGREEMENT_COLUMNS` are its columns.

    `tau`: Kendall's τ_b between the orders in which the two metrics' means put the `methods`, controls left out, on the
    `n` images, `units` clusters, that all of them have a value for under both metrics (`common`): 1 is the same order,
    −1 the reverse. `low`, `high`: its 95 % percentile interval over bootstrap resamples of the images, from at least
    `FEWEST` units. Fewer than three methods have no τ (NaN).
    """
    rows = []
    for block in found:
        own = block.cells["control"].to_numpy(bool)
        controls = set(block.cells.loc[own, "method"])
        of = {}
        for metric, column, better in block.judged:
            cells = {m: row for m, row in block.rows(metric, column).items() if m not in controls}
            of[metric] = {m: SIGN[better] * block.values[row] for m, row in cells.items()}
        for first, second in combinations(of, 2):
            methods = [m for m in of[first] if m in of[second]]
            values = np.array([[of[metric][m] for m in methods] for metric in (first, second)])
            about = {"model": block.model, "dataset": block.dataset, "first": first, "second": second}
            rows.append({**about, **_tau(values, block, seed)})
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


def _tau(values: Floats, block: Block, seed: int) -> dict[str, float]:
    """τ of two metrics × methods × images, and its interval."""
    beside, images = common(values.sum(0))
    kept = values[:, beside][:, :, images]
    count = int(beside.sum())
    units = None if block.units is None else [u for u, held in zip(block.units, images, strict=True) if held]
    told = {"methods": count, "n": int(images.sum()), "units": 0, "tau": np.nan, "low": np.nan, "high": np.nan}
    if count < 3 or not images.any():
        return told
    parts = [by_unit(each, np.isfinite(each), units) for each in kept]
    size = parts[0][0].shape[1]
    told |= {"units": size, "tau": float(tau_b(*(sums.sum(1) / counts.sum(1) for sums, counts in parts)))}
    if size >= FEWEST:
        drawn = np.random.default_rng([seed, size]).multinomial(size, [1 / size] * size, RESAMPLES).T
        taus = tau_b(*((sums @ drawn) / (counts @ drawn) for sums, counts in parts))
        told["low"], told["high"] = np.nanpercentile(taus, [2.5, 97.5]) if np.isfinite(taus).any() else (np.nan, np.nan)
    return told


def tau_b(one: Floats, other: Floats) -> Floats:
    """Kendall's τ_b of two columns of values (methods × columns): Σ s·s' / √(Σs² Σs'²) over pairs of methods, s being
    the sign of their difference, 0 for a tie. NaN where one of them is all ties."""
    first, second = np.triu_indices(len(one), 1)
    signs = [np.sign(differences(each[first], each[second])) for each in (one, other)]
    with np.errstate(invalid="ignore"):
        found: Floats = (signs[0] * signs[1]).sum(0) / np.sqrt(np.prod([(s**2).sum(0) for s in signs], axis=0))
    return found
