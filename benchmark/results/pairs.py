"""Every two methods of a run compared on the images that both have a value for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from camfaith.benchmark.results.cells import Block
from camfaith.benchmark.results.families import LEVEL, holm
from camfaith.benchmark.results.paired import SIGN, Paired, differences, paired

PAIR_COLUMNS = (
    *("model", "dataset", "metric", "column", "better", "first", "second", "first_mean", "second_mean"),
    *("difference", "low", "high", "n", "units", "ties", "p", "adjusted", "detectable", "ahead"),
)


def compare_methods(found: Sequence[Block], pairs: Collection[tuple[str, str]] | None = None) -> pd.DataFrame:
    """One row per model × data set × metric (its main column) and pair of methods, by default every two that are no
    controls; `PAIR_COLUMNS` are its columns.

    `first_mean`, `second_mean`: over the common images, `n` of them, with `units` clusters where there are clusters.
    `difference`: positive where the first is better, whichever way the metric goes; `low`, `high`: its 95 % interval;
    `ties`: images on which both are equal. `p`: of the sign-flip test, two-sided; `adjusted`: after Holm over all rows
    of the table; `ahead`: "first" or "second" where that is at most 0.05, else "". `detectable`: the smallest
    difference that so many images would have shown with a chance of 0.8, at the level of Holm's first step.

    Where there are several models or data sets, rows with an empty model and data set take each of them as one
    unit: they alone speak of models and data sets like these.
    """
    tables = [pairs_of(block, pairs) for block in found]
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(PAIR_COLUMNS))
    if len(found) > 1 and len(rows):
        rows = pd.concat([rows, _over_blocks(rows)], ignore_index=True)
    return _decided(rows)[list(PAIR_COLUMNS)]


def pairs_of(block: Block, pairs: Collection[tuple[str, str]] | None = None) -> pd.DataFrame:
    """The comparisons of one block, a family of its own; `first_cell` and `second_cell` say where the cells lie."""
    cells: list[tuple[int, int]] = []
    controls = set(block.cells.loc[block.cells["control"], "method"])
    for metric, column, _ in block.judged:
        rows = block.rows(metric, column)
        asked = combinations([m for m in rows if m not in controls], 2) if pairs is None else pairs
        cells += [(rows[a], rows[b]) for a, b in asked if a in rows and b in rows]
    firsts, seconds = np.array(cells, np.int64).reshape(-1, 2).T
    ones, others = block.values[firsts], block.values[seconds]
    found = block.cells.iloc[firsts][["metric", "column", "better"]].reset_index(drop=True)
    sign = np.asarray(found["better"].map(SIGN), dtype=np.float64)
    apart = differences(ones, others, sign[:, None])
    shown = paired(apart, block.units)
    common = np.isfinite(apart)
    with np.errstate(invalid="ignore"):
        means = [np.where(common, v, 0).sum(1) / np.where(shown.n > 0, shown.n, np.nan) for v in (ones, others)]
    methods = block.cells["method"].to_numpy()
    found = found.assign(model=block.model, dataset=block.dataset, first_cell=firsts, second_cell=seconds)
    found = found.assign(first=methods[firsts], second=methods[seconds], first_mean=means[0], second_mean=means[1])
    return _decided(found.assign(**_columns(shown)))


def _over_blocks(rows: pd.DataFrame) -> pd.DataFrame:
    """The same pairs, with the mean of each block as one value."""
    by = ["metric", "column", "better", "first", "second"]
    groups = rows.groupby(by, sort=False)
    found = groups[["first_mean", "second_mean"]].mean().reset_index()
    wide = np.full((len(found), int(groups.size().max())), np.nan)
    wide[groups.ngroup(), groups.cumcount()] = rows["difference"]
    return found.assign(model="", dataset="", **_columns(paired(wide)))


def _columns(shown: Paired) -> dict[str, Any]:
    columns = {name: getattr(shown, name) for name in ("low", "high", "n", "units", "ties", "p")}
    first_step = LEVEL / max(1, int(np.isfinite(shown.p).sum()))
    return {"difference": shown.mean, **columns, "detectable": shown.detectable(first_step)}


def _decided(rows: pd.DataFrame) -> pd.DataFrame:
    adjusted = holm(rows["p"].to_numpy(float))
    ahead = np.where(rows["difference"].to_numpy(float) > 0, "first", "second")
    return rows.assign(adjusted=adjusted, ahead=np.where(adjusted <= LEVEL, ahead, ""))
