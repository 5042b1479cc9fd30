"""Means with their uncertainty, and what they show: one row per cell of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from camfaith.benchmark.results.cells import CELL, USED, Block, blocks, controls, random_control
from camfaith.benchmark.results.intervals import APART, FEWEST, mean_interval
from camfaith.benchmark.results.paired import SIGN, differences, paired
from camfaith.benchmark.results.skill import skills
from camfaith.benchmark.results.standing import tested, told_apart

FIRM = 32
"""From so many samples, or clusters, on intervals of skewed values cover nearly as often as they say."""
COUNTED = {"constant": "constant", "undefined": "undefined", "error": "errors"}
SUMMARY_COLUMNS = (
    *("model", "dataset", "method", "control", "metric", "column", "better", "main"),
    *("mean", "low", "high", "n", "units", "constant", "undefined", "errors"),
    *("difference", "difference_low", "difference_high", "skill", "skill_low", "skill_high"),
    *("p", "above_random", "rank", "best"),
)
SCALE_COLUMNS = ("model", "dataset", "method", "control", "metric", "beta", "residual", "n")


def summarise(scores: pd.DataFrame, info: Mapping[str, Any], found: Sequence[Block] | None = None) -> pd.DataFrame:
    """One row per model × data set × method × metric × column; `SUMMARY_COLUMNS` are its columns.

    `mean`, `low`, `high`: the mean over samples with its 95 % interval, by cluster where samples have one; `n`: the
    number of finite values in it, `units` that of their clusters. `constant`, `undefined`, `errors`: samples counted
    apart (a constant map that has a value is in the mean too). `difference`: the paired difference from the random
    control on common samples, positive if the method is better. Where n is too small (`mean_interval`) limits are NaN;
    `few_samples` says so in a line.

    What is claimed is claimed of main columns alone: `p`, `above_random`, `rank` and `best` are those of `Standing`, by
    the sequential test in a run until all is separated, by the sign-flip test in others. `skill`: `skills`.
    `found`: the scores' `blocks`, where they are in hand.
    """
    parts = [_summary(block, scores, info) for block in (blocks(scores, info) if found is None else found)]
    if not parts:
        return pd.DataFrame(columns=list(SUMMARY_COLUMNS))
    return _count(pd.concat(parts, ignore_index=True), scores)[list(SUMMARY_COLUMNS)]


def few_samples(summary: pd.DataFrame) -> list[str]:
    """A line where n is too small for an interval in one of these rows, and one where there is an interval of few
    samples."""
    held, shown = summary["n"] > 0, summary["low"].notna()
    lines = []
    if (held & ~shown).any():
        lines.append(
            f"[–]: n too small. Fewer than {FEWEST} samples (or clusters) have a value, or all but {APART - 1} have "
            f"the same; that says nothing of others like them. Nothing is claimed from fewer than {FEWEST}."
        )
    if (shown & (summary["units"] < FIRM)).any():
        lines.append(
            f"Intervals of fewer than {FIRM} samples (or clusters) are rough: of skewed values, 95 % intervals cover "
            "about 90 % at n = 8, and 92 % at 16 and 32 (docs/statistics.md)."
        )
    return lines


def conservation_scale(scores: pd.DataFrame, info: Mapping[str, Any]) -> pd.DataFrame:
    """The best single scale factor of each method's maps, β = argmin Σ(S − βΣM)² over images, and what it leaves:
    `residual`, the mean of |S − βΣM| / |S|. S is the logit, ΣM the sum of the raw map."""
    labels = {m["label"] for m in info.get("metrics", ()) if m.get("name") == "conservation"} or {"conservation"}
    kept = scores[scores["metric"].isin(labels) & scores["column"].isin(["map_sum", "logit"])]
    kept = kept[kept["status"].isin(USED)]
    keys = ["model", "dataset", "method", "metric"]
    kept = kept.drop_duplicates([*keys, "sample", "column"], keep="last")
    sums, logits = (kept.loc[kept["column"] == c, [*keys, "sample", "value"]] for c in ("map_sum", "logit"))
    both = sums.merge(logits, on=[*keys, "sample"], suffixes=("_sum", "_logit"))
    both = both[np.isfinite(both["value_sum"].astype(float)) & np.isfinite(both["value_logit"].astype(float))]
    is_control: dict[Any, bool] = dict(controls(info))
    rows: list[tuple[Any, ...]] = []
    named: Any = both.groupby(keys, sort=False)
    for key, group in named:
        logit, total = group["value_logit"].to_numpy(float), group["value_sum"].to_numpy(float)
        square = float(total @ total)
        beta = float(logit @ total) / square if square > 0 else np.nan
        sized = logit != 0
        left = np.abs(logit - beta * total)[sized] / np.abs(logit[sized])
        residual = float(left.mean()) if len(left) else np.nan
        rows.append((*key[:3], is_control.get(key[2], False), key[3], beta, residual, len(group)))
    return pd.DataFrame(rows, columns=list(SCALE_COLUMNS))


def _summary(block: Block, scores: pd.DataFrame, info: Mapping[str, Any]) -> pd.DataFrame:
    """The cells of one model and data set, with means and what is shown of them."""
    values, cells, random = block.values, block.cells.copy(), random_control(info)
    cells["mean"], cells["low"], cells["high"], cells["n"], cells["units"], _ = mean_interval(values, block.units)
    places = pd.MultiIndex.from_frame(cells[["method", "metric", "column"]])
    beside = places.get_indexer(pd.MultiIndex.from_frame(cells[["method", "metric", "column"]].assign(method=random)))
    apart = np.where((beside >= 0) & (cells["method"] != random), cells["better"].map(SIGN), np.nan)
    shown = paired(differences(values, values[beside], apart[:, None].astype(float)), block.units)
    cells["difference"], cells["difference_low"], cells["difference_high"] = shown[:3]
    cells["skill"], cells["skill_low"], cells["skill_high"] = skills(block, random)
    if block.sequential:
        own = scores[(scores["model"] == block.model) & (scores["dataset"] == block.dataset)]
        standing = told_apart(block, own, info, random)
    else:
        standing = tested(block, shown)
    return cells.assign(**standing._asdict())


def _count(cells: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Samples that are constant, undefined or failed, per cell. A row with a blank name counts for all: a picture that
    cannot be read fails for every method and metric."""
    odd = scores[scores["status"].isin(list(COUNTED))]
    odd = odd.assign(**{name: odd[name].fillna("") for name in CELL}).drop_duplicates([*CELL, "sample", "status"])
    sizes = odd.groupby([*CELL, "status"], sort=False).size().reset_index(name="size")
    blank = (sizes[CELL] == "").any(axis=1)
    places = pd.MultiIndex.from_frame(cells[CELL])
    for status, column in COUNTED.items():
        counts = np.zeros(len(cells), np.int64)
        exact = sizes[~blank & (sizes["status"] == status)]
        counts[places.get_indexer(pd.MultiIndex.from_frame(exact[CELL]))] = exact["size"].to_numpy(np.int64)
        for row in sizes[blank & (sizes["status"] == status)].to_dict("records"):
            about = np.ones(len(cells), bool)
            for name in CELL:
                about &= (cells[name] == row[name]).to_numpy(bool) | (row[name] == "")
            counts[about] += row["size"]
        cells[column] = counts
    return cells
