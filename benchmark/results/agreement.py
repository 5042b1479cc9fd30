"""Whether metrics order the methods alike."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from camfaith.benchmark.results.cells import Block, common
from camfaith.benchmark.results.intervals import FEWEST, Floats, by_unit
from camfaith.benchmark.results.paired import SIGN, differences
from camfaith.benchmark.results.resampling import resamples

AGREEMENT_COLUMNS = ("model", "dataset", "first", "second", "tau", "low", "high", "methods", "n", "units")


def agree(found: Sequence[Block], metrics: Collection[str] | None = None, *, seed: int = 0) -> pd.DataFrame:
    """One row per model × data set and pair of metrics, or of these alone (their main columns); `AGREEMENT_COLUMNS` are
    its columns.

    `tau`: Kendall's τ_b between the orders in which the two metrics' means put the `methods`, controls left out, on the
    `n` images, `units` clusters, that all of them have a value for under both metrics (`common`): 1 is the same order,
    −1 the reverse. `low`, `high`: its 95 % percentile interval over bootstrap resamples of the images, from at least
    `FEWEST` units. Fewer than three methods have no τ (NaN).
    """
    rows = []
    for block in found:
        controls = set(block.cells.loc[block.cells["control"], "method"])
        of = {metric: (block.rows(metric, column), SIGN[better]) for metric, column, better in block.judged}
        of = {metric: own for metric, own in of.items() if metrics is None or metric in metrics}
        everywhere = set.intersection(*(set(own) for own, _ in of.values())) if of else set()
        methods = [m for m in block.cells["method"].unique() if m in everywhere - controls]
        values = {metric: sign * block.values[[own[m] for m in methods]] for metric, (own, sign) in of.items()}
        orders = _Orders(values, block.units, seed)
        for first, second in combinations(values, 2):
            about = {"model": block.model, "dataset": block.dataset, "first": first, "second": second}
            rows.append({**about, **orders.agreement(first, second)})
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


BASELINE_COLUMNS = ("model", "dataset", "metric", "labels", "tau", "lowest", "baselines", "methods", "n")


def baseline_agreement(found: Sequence[Block], info: Mapping[str, Any], *, seed: int = 0) -> pd.DataFrame:
    """Whether a metric orders the methods alike whatever its baseline: one row per model × data set and metric that the
    run has with several baselines, its other settings equal; `BASELINE_COLUMNS` are its columns.

    `metric` is its name, `labels` those of its forms, one a baseline. `tau`: the mean of Kendall's τ_b over every two
    baselines, `lowest`: the least of them (`agree` says of which methods and images; `methods` and `n` are the fewest).
    1 is the same order under all. NaN where no two have a τ.
    """
    rows = []
    for (name, _), labels in _over_baselines(info).items():
        for (model, dataset), own in agree(found, labels, seed=seed).groupby(["model", "dataset"], sort=False):
            about = {"model": model, "dataset": dataset, "metric": name, "labels": tuple(labels)}
            told = {"baselines": len(labels), "methods": int(own["methods"].min()), "n": int(own["n"].min())}
            rows.append({**about, "tau": own["tau"].mean(), "lowest": own["tau"].min(), **told})
    return pd.DataFrame(rows, columns=list(BASELINE_COLUMNS))


def _over_baselines(info: Mapping[str, Any]) -> dict[tuple[str, str], list[str]]:
    """The labels of the metrics that differ by their baseline alone, by their name and other settings."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for metric in info.get("metrics", ()):
        rest = dict(metric.get("parameters", {}))
        if "baseline" in rest:
            del rest["baseline"]
            found[metric["name"], json.dumps(rest, sort_keys=True, default=repr)].append(metric["label"])
    return {key: labels for key, labels in found.items() if len(labels) > 1}


class _Orders:
    """The orders of methods under each metric (methods × images), kept for the methods and images of a pair: most pairs
    share them."""

    def __init__(self, values: Mapping[str, Floats], units: Sequence[Any] | None, seed: int) -> None:
        self.values, self.units, self.seed = values, units, seed
        self.kept: dict[tuple[str, bytes], tuple[Floats, Floats | None, int]] = {}

    def agreement(self, first: str, second: str) -> dict[str, float]:
        beside, images = common(self.values[first] + self.values[second])
        told = {"methods": int(beside.sum()), "n": int(images.sum())}
        if told["methods"] < 3 or not told["n"]:
            return {**told, "units": 0, "tau": np.nan, "low": np.nan, "high": np.nan}
        one, other = (self._signs(metric, beside, images) for metric in (first, second))
        found = {"tau": float(tau_b(one[0], other[0])[0]), "low": np.nan, "high": np.nan}
        if one[1] is not None and other[1] is not None:
            taus = tau_b(one[1], other[1])
            if np.isfinite(taus).any():
                found["low"], found["high"] = map(float, np.nanpercentile(taus, [2.5, 97.5]))
        return {**told, "units": one[2], **found}

    def _signs(self, metric: str, beside: Any, images: Any) -> tuple[Floats, Floats | None, int]:
        """Signs of the differences between every two methods' means (pairs × 1), the same in every resample, and the
        number of units."""
        key = metric, beside.tobytes() + images.tobytes()
        if key not in self.kept:
            values = self.values[metric][beside][:, images]
            units = None if self.units is None else [u for u, held in zip(self.units, images, strict=True) if held]
            sums, counts = by_unit(values, np.isfinite(values), units)
            size = sums.shape[1]
            drawn = resamples(size, self.seed) if size >= FEWEST else None
            again = None if drawn is None else _signs_of((sums @ drawn) / (counts @ drawn))
            self.kept[key] = _signs_of(values.mean(1, keepdims=True)), again, size
        return self.kept[key]


def _signs_of(means: Floats) -> Floats:
    first, second = np.triu_indices(len(means), 1)
    return np.sign(differences(means[first], means[second]))


def tau_b(one: Floats, other: Floats) -> Floats:
    """Kendall's τ_b of each column, from the signs s of the differences between every two methods (pairs × columns), 0
    for a tie: Σ s·s' / √(Σs² Σs'²). NaN where one of them is all ties."""
    with np.errstate(invalid="ignore"):
        found: Floats = (one * other).sum(0) / np.sqrt((one**2).sum(0) * (other**2).sum(0))
    return found
