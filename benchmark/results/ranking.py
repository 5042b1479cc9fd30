"""How methods are ordered, and how firmly: over the images of one model and data set, and over models and data sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import friedmanchisquare, rankdata

from camfaith.benchmark.results.cells import Block, in_common
from camfaith.benchmark.results.intervals import FEWEST, Floats
from camfaith.benchmark.results.paired import SIGN, TIED
from camfaith.benchmark.results.resampling import resamples

RANKING_COLUMNS = (
    *("model", "dataset", "metric", "column", "better", "method", "n", "units", "mean", "mean_rank"),
    *("friedman_p", "kendall_w"),
)


def rank_methods(found: Sequence[Block], *, seed: int = 0) -> pd.DataFrame:
    """One row per model × data set × metric (its main column) × method that is no control: `RANKING_COLUMNS`, and
    `place_1`, `place_2`, ….

    All is over the `n` images, `units` clusters, that the methods have in common (`common`). `mean_rank`: the mean over
    images of the method's rank on each, 1 = best; values that differ by less than `TIED` of their size share a rank.
    `friedman_p`: of ranks like these where all methods are alike (Friedman's test; none in a run until all is
    separated); `kendall_w`: how far images agree on the order, from 0 to 1. Both speak of this model and data set
    alone. `place_k`: in which share of bootstrap resamples of the images the method's mean is at place k; methods that
    tie share their places.

    Where there are several models or data sets, rows with an empty model and data set take each of them as one image,
    its means for values. From less than `FEWEST` units there is no p, no W and no place (NaN).
    """
    tables = []
    means: dict[tuple[str, str, str], list[pd.Series]] = {}
    controls = {m for block in found for m in block.cells.loc[block.cells["control"], "method"]}
    for block in found:
        for metric, column, better in block.judged:
            rows = {m: row for m, row in block.rows(metric, column).items() if m not in controls}
            values = SIGN[better] * block.values[list(rows.values())]
            table = _ranked([*rows], values, block.units, seed)
            about = {"model": block.model, "dataset": block.dataset, "metric": metric, "column": column}
            if block.sequential:
                table["friedman_p"] = np.nan
            tables.append(table.assign(**about, better=better, mean=SIGN[better] * table["mean"]))
            means.setdefault((metric, column, better), []).append(table.set_index("method")["mean"])
    for (metric, column, better), of in means.items() if len(found) > 1 else ():
        wide = pd.concat(of, axis=1)
        table = _ranked([*wide.index], wide.to_numpy(float), None, seed)
        about = {"model": "", "dataset": "", "metric": metric, "column": column, "better": better}
        tables.append(table.assign(**about, mean=SIGN[better] * table["mean"]))
    if not tables:
        return pd.DataFrame(columns=list(RANKING_COLUMNS))
    rows_ = pd.concat(tables, ignore_index=True)
    return rows_[[*RANKING_COLUMNS, *(c for c in rows_ if str(c).startswith("place_"))]]


def _ranked(methods: Sequence[str], values: Floats, units: Sequence[Any] | None, seed: int) -> pd.DataFrame:
    """Methods × images, higher is better."""
    beside, sums, counts = in_common(values, units)
    of_unit = sums / np.maximum(counts, 1)
    count, size = of_unit.shape
    nothing = np.full(len(methods), np.nan)
    table = pd.DataFrame(
        {"method": methods, "n": np.where(beside, int(counts[:1].sum()), 0), "units": np.where(beside, size, 0)}
    )
    table = table.assign(mean=nothing, mean_rank=nothing, friedman_p=np.nan, kendall_w=np.nan)
    if not size:
        return table
    levels = tied_levels(of_unit)
    table.loc[beside, "mean"] = sums.sum(1) / counts.sum(1)
    table.loc[beside, "mean_rank"] = rankdata(-levels, axis=0).mean(1)
    if size >= FEWEST and count >= 2:
        if count >= 3 and (levels != levels[0]).any():
            statistic, p = friedmanchisquare(*levels)
            table["friedman_p"], table["kendall_w"] = p, statistic / (size * (count - 1))
        drawn = resamples(size, seed)
        places = _places(tied_levels((sums @ drawn) / (counts @ drawn)))
        for place in range(count):
            table[f"place_{place + 1}"] = np.nan
            table.loc[beside, f"place_{place + 1}"] = places[:, place]
    return table


def tied_levels(values: Floats) -> NDArray[np.int64]:
    """The place of each value among its column's different ones, from the lowest; values without a gap between them are
    one."""
    order = values.argsort(0, kind="stable")
    ordered = np.take_along_axis(values, order, 0)
    size = np.maximum(np.abs(ordered[1:]), np.abs(ordered[:-1]))
    steps = np.concatenate([np.zeros((1, values.shape[1]), np.int64), np.diff(ordered, axis=0) > TIED * size])
    levels = np.empty(values.shape, np.int64)
    np.put_along_axis(levels, order, steps.cumsum(0), 0)
    return levels


def _places(levels: NDArray[np.int64]) -> Floats:
    """The share of columns in which each row is first, second, ... from the highest: rows × places."""
    first, last = (rankdata(-levels, method=way, axis=0) for way in ("min", "max"))
    places = np.arange(1, len(levels) + 1)[:, None, None]
    share: Floats = ((first <= places) & (places <= last)) / (last - first + 1)
    return np.asarray(share.mean(2).T)
