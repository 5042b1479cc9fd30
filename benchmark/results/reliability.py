"""How far a metric is to be trusted on one model and data set: its reliability card, from a run's tables alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from camfaith.benchmark.results.agreement import baseline_agreement
from camfaith.benchmark.results.cells import CELL, Block, control_named, in_common
from camfaith.benchmark.results.families import LEVEL, holm
from camfaith.benchmark.results.intervals import FEWEST, Floats
from camfaith.benchmark.results.paired import SIGN, differences
from camfaith.benchmark.results.raters import alpha, split_half
from camfaith.benchmark.results.signflip import sign_flip
from camfaith.benchmark.results.thinning import thinned_agreement

BLIND = ("random", "random-pixels", "constant", "center-gaussian", "sobel")
"""The controls that know nothing of the network, and of the image no more than its edges."""


def beside(way: str, control: str) -> str:
    """The column that says which share of the methods is shown to be `way`, "above" or "below", of a control."""
    return f"{way}_{control.replace('-', '_')}"


RELIABILITY_COLUMNS = (
    *("model", "dataset", "metric", "column", "better", "methods", "n", "units", "alpha", "split_half"),
    *(beside(way, name) for name in BLIND for way in ("above", "below")),
    *("oracle", "grain", "features", "baselines", "steps", "equal"),
    *("degenerate", "undefined", "ties", "confidence", "drift"),
)


def reliability_of(
    found: Sequence[Block], scores: pd.DataFrame, lines: pd.DataFrame, info: Mapping[str, Any]
) -> pd.DataFrame:
    """One row per model × data set × metric whose main column says which way is better; `RELIABILITY_COLUMNS` are its
    columns. All but those of controls are of the `methods` that are no controls.

    - `alpha`: Krippendorff's α, images as raters of the methods; `split_half`: Spearman's ρ between the orders that two
      halves of the images put the methods in (`raters`); both on the `n` images, `units` clusters, that the methods
      have in common, and NaN for less than `FEWEST` units, as are `baselines` and `steps`
    - `above_random`, `below_random`, …: the share of methods shown to be better than that control, and worse: by the
      sign-flip test, after Holm over all methods × metrics. NaN without that control, where nothing could be tested,
      and in a run until all is separated, whose `separations` say who leads
    - `oracle`: the share of these controls than which the oracle is shown to be better, after Holm over them × metrics
    - `grain`: "pixels" where random-pixels is shown to be better than random, "cells" where worse, else "", after Holm
      over metrics. Where grain decides, maps of different grain cannot be compared under the metric
    - `features`: what the metric takes out at once, "cells", "superpixels" or "pixels", "" where it has no such
      setting; it can judge a map no finer than these, and single pixels say little of a coarse map
    - `baselines`: the mean of Kendall's τ between the orders by every two baselines that the run has of the metric
      (`baseline_agreement`); NaN where it has one
    - `steps`: Kendall's τ between the orders of methods by their curves' areas, with all points and with every second
      (`thinned_agreement`); NaN for a metric without a curve, and with a tolerance, which chooses its own points
    - `equal`: how often two methods have the same value on an image, a share of pairs × images
    - `degenerate`, `undefined`: the share of maps that are constant or zero and have a value all the same, and of those
      that have none, of all that did not fail
    - `ties`, `confidence`, `drift`: the means of the metric's columns of that name, NaN where it has none: the share of
      pixels whose order was drawn by lot; how sure the network is of the altered images, and how far their features are
      from the image's
    """
    settings = {m["label"]: m.get("parameters") or {} for m in info.get("metrics", ())}
    tolerant = {label for label, of in settings.items() if of.get("tolerance") is not None}
    curves = lines[~lines["metric"].isin(tolerant)]
    tables = [_cards(block, _of(block, curves), info) for block in found]
    if not any(map(len, tables)):
        return pd.DataFrame(columns=list(RELIABILITY_COLUMNS))
    rows = pd.concat(tables, ignore_index=True).merge(_statuses(scores, info), "left", [*CELL[:2], *CELL[3:]])
    agreed = baseline_agreement(found, info).explode("labels")
    agreed = agreed[["model", "dataset", "labels", "tau"]].rename(columns={"labels": "metric", "tau": "baselines"})
    rows = rows.merge(agreed, "left", ["model", "dataset", "metric"])
    rows.loc[rows["units"] < FEWEST, ["baselines", "steps"]] = np.nan
    rows["features"] = [_features(settings.get(metric, {})) for metric in rows["metric"]]
    return rows[list(RELIABILITY_COLUMNS)]


def _features(settings: Mapping[str, Any]) -> str:
    given = settings.get("features", "")
    return str(given["name"] if isinstance(given, Mapping) else given)


def _of(block: Block, table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["model"] == block.model) & (table["dataset"] == block.dataset)]


def _cards(block: Block, lines: pd.DataFrame, info: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of one block, but for what its scores' statuses say."""
    controls = set(block.cells.loc[block.cells["control"], "method"])
    methods = [m for m in block.cells["method"].unique() if m not in controls]
    rows = []
    for metric, column, better in block.judged:
        about = {"model": block.model, "dataset": block.dataset, "metric": metric, "column": column, "better": better}
        row = {**about, **_order(_values(block, metric, column, methods), block.units)}
        row["steps"] = thinned_agreement(lines[lines["metric"] == metric], methods)
        for name in ("ties", "confidence", "drift"):
            values = _values(block, metric, name, methods)
            row[name] = np.nanmean(values) if np.isfinite(values).any() else np.nan
        rows.append(row)
    cards = pd.DataFrame(rows)
    for name, found in _beside_controls(block, methods, info).items() if rows else ():
        cards[name] = cards["metric"].map(found)
    return cards


def _values(block: Block, metric: str, column: str, methods: Sequence[str]) -> Floats:
    return block.values[[row for method, row in block.rows(metric, column).items() if method in methods]]


def _order(values: Floats, units: Sequence[Any] | None) -> dict[str, Any]:
    """How firm the order of methods (methods × images) is."""
    beside, sums, counts = in_common(values, units)
    firm = sums.shape[1] >= FEWEST
    pairs = np.array([*combinations(range(len(values)), 2)], int).reshape(-1, 2).T
    apart = differences(values[pairs[0]], values[pairs[1]])
    compared = np.isfinite(apart).sum()
    return {
        "methods": int(beside.sum()),
        "n": int(counts[:1].sum()),
        "units": sums.shape[1],
        "alpha": alpha(sums) if firm else np.nan,
        "split_half": split_half(sums) if firm else np.nan,
        "equal": (apart == 0).sum() / compared if compared else np.nan,
    }


def _beside_controls(block: Block, methods: Sequence[str], info: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By metric, what is shown of the methods, and of the oracle, beside each control that is blind."""
    named = {name: label for name in BLIND if (label := control_named(name, info)) is not None}
    oracle = control_named("oracle", info)
    columns: dict[str, dict[str, Any]] = {}
    for name in BLIND:
        ahead = _ahead(block, [(method, named[name]) for method in methods] if name in named else [])
        for way, sign in (("above", 1), ("below", -1)):
            columns[beside(way, name)] = _shares(ahead, sign)
    columns["oracle"] = _shares(_ahead(block, [(oracle, label) for label in named.values()] if oracle else []), 1)
    both = [(named["random-pixels"], named["random"])] if {"random", "random-pixels"} <= {*named} else []
    grain = {1: "pixels", 0: "", -1: "cells"}
    columns["grain"] = {metric: grain[int(found[0])] for metric, found in _ahead(block, both).items()}
    return columns


def _ahead(block: Block, pairs: Sequence[tuple[str, str]]) -> dict[str, Floats]:
    """For each metric that could be tested, which of its pairs is shown to be better: 1 the first, −1 the second, 0
    neither. All pairs × metrics are one family."""
    asked = [
        (metric, rows[first], rows[second], SIGN[better])
        for metric, column, better in block.judged
        for rows in [block.rows(metric, column)]
        for first, second in pairs
        if first in rows and second in rows
    ]
    if not asked or block.sequential:
        return {}
    metrics, firsts, seconds, signs = (np.array(part) for part in zip(*asked, strict=True))
    greater, less = sign_flip(differences(block.values[firsts], block.values[seconds], signs[:, None]), block.units)
    shown = holm(np.minimum(1, 2 * np.minimum(greater, less))) <= LEVEL
    ahead = np.where(shown, np.where(greater < less, 1, -1), 0)
    return {m: ahead[own] for m in dict.fromkeys(metrics) if (own := (metrics == m) & np.isfinite(greater)).any()}


def _shares(ahead: Mapping[str, Floats], sign: int) -> dict[str, float]:
    return {metric: float((found == sign).mean()) for metric, found in ahead.items()}


def _statuses(scores: pd.DataFrame, info: Mapping[str, Any]) -> pd.DataFrame:
    """`degenerate` and `undefined` of each main column."""
    methods = [m["label"] for m in info.get("methods", ()) if not m.get("control")]
    mains = {m["label"]: m["main"] for m in info.get("metrics", ())}
    rows = scores[scores["method"].isin(methods) & (scores["column"] == scores["metric"].map(mains))]
    rows = rows[rows["status"] != "error"]
    by = [rows[name] for name in (*CELL[:2], *CELL[3:])]
    kinds = {"degenerate": "constant", "undefined": "undefined"}
    shares = {name: (rows["status"] == kind).groupby(by, sort=False).mean() for name, kind in kinds.items()}
    return pd.DataFrame(shares).reset_index()
