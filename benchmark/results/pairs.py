"""Every two methods of a run compared on the images that both have a value for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from camfaith.benchmark.results.cells import Block
from camfaith.benchmark.results.families import LEVEL, holm
from camfaith.benchmark.results.intervals import means
from camfaith.benchmark.results.paired import SIGN, Paired, detectable, differences, paired

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
    of that model and data set (by default those that decide the summary's ranks); `ahead`: "first" or "second" where
    that is at most 0.05, else "". `detectable`: the smallest difference that so many images would have shown with a
    chance of 0.8, at the level of Holm's first step.

    Where there are several models or data sets, rows with an empty model and data set, a family of their own, take each
    of them as one unit: they alone speak of models and data sets like these. In a run until all is separated there is
    no p and nothing ahead, nor are there such rows: `separations` decides there.
    """
    tables = [table for block in found if len(table := pairs_of(block, pairs))]
    rows = pd.concat(tables, ignore_index=True) if tables else _no_pairs()
    if len(found) > 1 and len(rows) and not any(block.sequential for block in found):
        rows = pd.concat([rows, _over_blocks(rows)], ignore_index=True)
    return rows[list(PAIR_COLUMNS)]


def pairs_of(block: Block, pairs: Collection[tuple[str, str]] | None = None) -> pd.DataFrame:
    """The comparisons of one block, a family of its own; `first_cell` and `second_cell` say where the cells lie."""
    controls = set(block.cells.loc[block.cells["control"], "method"])
    tables = [_no_pairs()]
    for metric, column, better in block.judged:
        rows = block.rows(metric, column)
        asked = combinations([m for m in rows if m not in controls], 2) if pairs is None else pairs
        own = [(a, b) for a, b in asked if a in rows and b in rows]
        if own:
            about = {"model": block.model, "dataset": block.dataset, "metric": metric, "column": column}
            tables.append(_of_column(block, rows, own, SIGN[better]).assign(**about, better=better))
    return _decided(pd.concat(tables[1:] or tables, ignore_index=True))


def _no_pairs() -> pd.DataFrame:
    return pd.DataFrame(columns=[*PAIR_COLUMNS, "deviation", "first_cell", "second_cell"])


def _of_column(block: Block, rows: Mapping[str, int], pairs: Sequence[tuple[str, str]], sign: float) -> pd.DataFrame:
    firsts, seconds = (np.array([rows[pair[side]] for pair in pairs]) for side in (0, 1))
    ones, others = block.values[firsts], block.values[seconds]
    apart = differences(ones, others, sign)
    shown = paired(apart, block.units)
    both = np.isfinite(apart)
    first, second = (means(np.where(both, values, np.nan)) for values in (ones, others))
    found = pd.DataFrame(pairs, columns=["first", "second"]).assign(first_cell=firsts, second_cell=seconds)
    found = found.assign(first_mean=first, second_mean=second, **_columns(shown))
    return found.assign(p=np.nan) if block.sequential else found


def _over_blocks(rows: pd.DataFrame) -> pd.DataFrame:
    """The same pairs, with the mean of each block as one value."""
    by = ["metric", "column", "better", "first", "second"]
    groups = rows.groupby(by, sort=False)
    found = groups[["first_mean", "second_mean"]].mean().reset_index()
    wide = np.full((len(found), int(groups.size().max())), np.nan)
    wide[groups.ngroup(), groups.cumcount()] = rows["difference"]
    return _decided(found.assign(model="", dataset="", **_columns(paired(wide))))


def _columns(shown: Paired) -> dict[str, Any]:
    columns = {name: getattr(shown, name) for name in ("low", "high", "n", "units", "ties", "p", "deviation")}
    return {"difference": shown.mean, **columns}


def _decided(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows as one family."""
    p, deviation, units = rows["p"].to_numpy(float), rows["deviation"].to_numpy(float), rows["units"].to_numpy(np.int64)
    adjusted, first_step = holm(p), LEVEL / max(1, int(np.isfinite(p).sum()))
    ahead = np.where(rows["difference"].to_numpy(float) > 0, "first", "second")
    found = rows.assign(adjusted=adjusted, detectable=detectable(deviation, units, first_step))
    return found.assign(ahead=np.where(adjusted <= LEVEL, ahead, ""))
