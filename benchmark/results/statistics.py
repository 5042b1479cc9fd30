"""Means with their uncertainty, ranks, and differences from the random control: one row per cell of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from camfaith.benchmark.results.bootstrap import FEWEST, Floats, mean_interval

CELL = ["model", "dataset", "method", "metric", "column"]
TIED = 1e-4
USED = ("ok", "constant")
COUNTED = {"constant": "constant", "undefined": "undefined", "error": "errors"}
SUMMARY_COLUMNS = (
    *("model", "dataset", "method", "control", "metric", "column", "better", "main"),
    *("mean", "low", "high", "n", "constant", "undefined", "errors", "rank"),
    *("difference", "difference_low", "difference_high"),
)
SCALE_COLUMNS = ("model", "dataset", "method", "control", "metric", "beta", "residual", "n")


def summarise(
    scores: pd.DataFrame,
    info: Mapping[str, Any],
    *,
    level: float = 0.95,
    resamples: int = 4999,
    seed: int = 0,
    fewest: int = FEWEST,
) -> pd.DataFrame:
    """One row per model × data set × method × metric × column; `SUMMARY_COLUMNS` are its columns.

    `mean`, `low`, `high`: the mean over samples with its BCa bootstrap interval, by cluster where samples have one;
    `n`: the number of finite values in it. `constant`, `undefined`, `errors`: samples counted apart (a constant map
    that has a value is in the mean too). `rank`: 1 = best mean among the methods, without controls; means that differ
    by less than `TIED` of their size share the mean rank. `difference`: the paired difference from the random control
    on common samples, positive if the method is better. From less than `fewest` samples, or clusters, there is no
    interval and no rank (NaN); `few_samples` says so in a line.
    """
    options = {"level": level, "resamples": resamples, "seed": seed, "fewest": fewest}
    cells = _cells(scores, info)
    parts = []
    for (model, dataset), block in cells.groupby(["model", "dataset"], sort=False):
        found = scores[(scores["model"] == model) & (scores["dataset"] == dataset)]
        parts.append(_block(block, found, _random_control(info), options))
    if not parts:
        return pd.DataFrame(columns=list(SUMMARY_COLUMNS))
    return _count(pd.concat(parts, ignore_index=True), scores)[list(SUMMARY_COLUMNS)]


def few_samples(summary: pd.DataFrame) -> str:
    """A line that says that there are too few samples for intervals and ranks, where that is so in some cell that
    judges; else \"\"."""
    judges = summary["main"].astype(bool)
    without = judges & (summary["n"] > 0) & summary["low"].isna()
    if not without.any():
        return ""
    where = "" if without[judges & (summary["n"] > 0)].all() else "where an interval is missing, "
    return (
        f"Fewer than {FEWEST} samples (or clusters): {where}there is no interval, no rank and no best method, since so "
        "few say nothing of others like them."
    )


def mean_ranks(summary: pd.DataFrame) -> pd.DataFrame:
    """For each method and main column: the mean rank over model × data set blocks, and the number of blocks with a
    rank."""
    ranked = summary[summary["main"].astype(bool) & summary["rank"].notna()]
    grouped = ranked.groupby(["method", "metric", "column"], sort=False)["rank"]
    return grouped.agg(rank="mean", blocks="size").reset_index()


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
    controls: dict[Any, bool] = dict(_controls(info))
    rows: list[tuple[Any, ...]] = []
    named: Any = both.groupby(keys, sort=False)
    for key, group in named:
        logit, total = group["value_logit"].to_numpy(float), group["value_sum"].to_numpy(float)
        square = float(total @ total)
        beta = float(logit @ total) / square if square > 0 else np.nan
        sized = logit != 0
        left = np.abs(logit - beta * total)[sized] / np.abs(logit[sized])
        residual = float(left.mean()) if len(left) else np.nan
        rows.append((*key[:3], controls.get(key[2], False), key[3], beta, residual, len(group)))
    return pd.DataFrame(rows, columns=list(SCALE_COLUMNS))


def _block(cells: pd.DataFrame, scores: pd.DataFrame, random: str | None, options: Mapping[str, Any]) -> pd.DataFrame:
    """The cells of one model and data set with means, ranks and differences."""
    cells = cells.reset_index(drop=True)
    used = scores[scores["status"].isin(USED)].drop_duplicates(["sample", "method", "metric", "column"], keep="last")
    samples, units = _units(used)
    names = ["method", "metric", "column"]
    place = pd.MultiIndex.from_frame(cells[names])
    row = place.get_indexer(pd.MultiIndex.from_frame(used[names]))
    values = np.full((len(cells), len(samples)), np.nan)
    values[row, samples.get_indexer(pd.Index(used["sample"]))] = used["value"].to_numpy(float)
    sign: Floats = np.asarray(cells["better"].map({"higher": 1.0, "lower": -1.0}), dtype=np.float64)
    whole = mean_interval(values, units, **options)
    cells["mean"], cells["low"], cells["high"], cells["n"] = whole
    cells["rank"] = _ranks(cells, sign)
    beside = place.get_indexer(pd.MultiIndex.from_frame(cells[names].assign(method=random)))
    apart = np.where((beside >= 0) & (cells["method"] != random), sign, np.nan)
    difference = mean_interval(apart[:, None] * (values - values[beside]), units, **options)
    cells["difference"], cells["difference_low"], cells["difference_high"] = difference[:3]
    return cells


def _units(scores: pd.DataFrame) -> tuple[pd.Index, list[Any] | None]:
    """The samples, and the cluster of each; None if every sample stands for itself."""
    known = scores.drop_duplicates("sample")
    samples = pd.Index(known["sample"])
    given = [None if pd.isna(c) or c == "" else c for c in known["cluster"]]
    if all(c is None for c in given):
        return samples, None
    return samples, [("sample", s) if c is None else ("cluster", c) for s, c in zip(samples, given, strict=True)]


def _ranks(cells: pd.DataFrame, sign: Floats) -> pd.Series:
    without = cells["control"] | cells["low"].isna()
    entrants = pd.Series(np.where(without, np.nan, -sign * cells["mean"]), index=cells.index)
    levels = entrants.groupby([cells["metric"], cells["column"]], sort=False).transform(_levels)
    return levels.groupby([cells["metric"], cells["column"]]).rank(method="average")


def _levels(means: pd.Series) -> pd.Series:
    """One level for means without a gap between them: maps that are equal in theory differ by rounding in practice."""
    ordered = means.sort_values()
    gaps = ordered.diff() > TIED * ordered.abs().combine(ordered.shift().abs(), max)
    return gaps.cumsum().where(ordered.notna()).reindex(means.index)


def _cells(scores: pd.DataFrame, info: Mapping[str, Any]) -> pd.DataFrame:
    """Every cell with rows, and every method × judging column of each block with rows, in the run's order."""
    metrics = {m["label"]: m for m in info.get("metrics", ())}
    rows = scores[CELL].drop_duplicates()
    rows = rows[(rows.notna() & (rows != "")).all(axis=1)]
    blocks = scores[["model", "dataset"]].drop_duplicates()
    blocks = blocks[(blocks.notna() & (blocks != "")).all(axis=1)]
    asked = [(m, c) for m, known in metrics.items() for c in dict.fromkeys([known.get("main"), *known["better"]]) if c]
    grid = blocks.merge(pd.DataFrame({"method": list(_controls(info))}, dtype=object), how="cross")
    grid = grid.merge(pd.DataFrame(asked, columns=["metric", "column"], dtype=object), how="cross")
    cells = pd.concat([grid, rows], ignore_index=True).drop_duplicates()
    cells["control"] = cells["method"].map(_controls(info)).eq(True)
    of = [(metrics.get(m, {}), c) for m, c in zip(cells["metric"], cells["column"], strict=True)]
    cells["better"] = pd.Series([m.get("better", {}).get(c) for m, c in of], index=cells.index, dtype=object)
    cells["main"] = [m.get("main") == c for m, c in of]
    orders = {
        "model": [m["name"] for m in info.get("models", ())],
        "dataset": [d["name"] for d in info.get("datasets", ())],
        "method": list(_controls(info)),
        "metric": list(metrics),
        "column": [c for _, c in asked],
    }
    places = {name: _places(cells[name], order) for name, order in orders.items()}
    cells["main_first"] = ~cells["main"]
    cells = cells.assign(**{f"{name}_place": place for name, place in places.items()})
    by = ["model_place", "dataset_place", "method_place", "metric_place", "main_first", "column_place"]
    return cells.sort_values(by, kind="stable")[[*CELL, "control", "better", "main"]]


def _places(names: pd.Series, order: Sequence[str]) -> pd.Series:
    """The position of each name: as in `order`, then as first seen."""
    known = {name: place for place, name in enumerate(dict.fromkeys([*order, *names.unique()]))}
    return names.map(known)


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


def _controls(info: Mapping[str, Any]) -> dict[str, bool]:
    return {m["label"]: bool(m.get("control", False)) for m in info.get("methods", ())}


def _random_control(info: Mapping[str, Any]) -> str | None:
    """The label of the first random control of the run."""
    found = [m["label"] for m in info.get("methods", ()) if m.get("control") and m.get("name") == "random"]
    return found[0] if found else None
