"""How often something is claimed: of one comparison, of a whole table, and of a run until methods are separated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from draws import Floats, drawn, portions
from scipy.special import ndtr

from camfaith.benchmark.results.paired import detectable, paired
from camfaith.benchmark.results.sequential import separations
from camfaith.benchmark.results.signflip import sign_flip
from camfaith.benchmark.results.statistics import summarise

LEVEL = 0.05
METHODS = ["random", *(f"cam {i}" for i in range(1, 10))]
METRICS = [f"metric {i}" for i in range(1, 7)]
EFFECTS = (0.2, 0.5, 1.0)
"""In standard deviations of the paired differences."""
FAMILIES = {1: "1", 54: "54 (9 methods × 6 metrics)", 216: "216 (36 pairs × 6 metrics)"}
BETTER = {"all alike": [0.0] * 10, "four of nine better": [0.0] * 6 + [0.3, 0.3, 0.6, 1.0]}
"""By how many standard deviations of a method's noise random and the nine methods are better."""
AT_ONCE = 25
"""Tables that are summarised together, each a model of its own."""


def claimed(name: str, n: int, rows: int, seed: int, effect: float = 0.0) -> dict[str, float]:
    """The share of rows of which the test claims a difference, on either side and on each at `LEVEL`."""
    rng = np.random.default_rng(seed)
    greater, less = [], []
    for count in portions(rows):
        values, units = drawn(name, rng, count, n)
        found = sign_flip(values + effect, units)
        greater.append(found.greater)
        less.append(found.less)
    one, other = np.concatenate(greater), np.concatenate(less)
    both = 2 * np.minimum(one, other)
    return {side: float((p <= LEVEL).mean()) for side, p in (("greater", one), ("less", other), ("two", both))}


def power(n: int, rows: int, seed: int) -> dict[str, float]:
    """How often a difference of so many standard deviations is claimed of n images, in one two-sided test."""
    return {f"{effect:g}": claimed("normal", n, rows, seed, effect)["two"] for effect in EFFECTS}


def detected(name: str, n: int, family: int, rows: int, seed: int) -> dict[str, float]:
    """The smallest difference that n images are told to show in a family of so many, on average; how often a difference
    of that size is found; and the difference that really is found in 80 %."""
    values, _ = drawn(name, np.random.default_rng(seed), rows, n)
    level = LEVEL / family
    if 2 * 0.5**n > level:
        return {"told": np.nan, "found": 0.0, "real": np.nan}

    def found(effect: float) -> float:
        return float((paired(values + effect).p <= level).mean())

    shown = paired(values)
    told = float(detectable(shown.deviation, shown.units, level).mean())
    low, high = 0.0, 4 * told
    for _ in range(9):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) >= 0.8 else (middle, high)
    return {"told": told, "found": found(told), "real": high}


def alike(rng: np.random.Generator, tables: int, n: int) -> Floats:
    """No method is better: image and method add up, and three metrics have normal noise, three exponential."""
    shape = (tables, len(METHODS), len(METRICS), n)
    noise = np.where(np.arange(6)[:, None] < 3, rng.normal(size=shape), rng.exponential(size=shape))
    return noise + rng.normal(size=(tables, 1, len(METRICS), n))


def skewed(rng: np.random.Generator, tables: int, n: int) -> Floats:
    """No method is better on average, but their noise is skewed to the one side or the other, and some have more."""
    noise = rng.exponential(size=(tables, len(METHODS), len(METRICS), n)) - 1
    size = np.resize([1, -1, 2, -2, 0.5], len(METHODS))[:, None, None]
    return noise * size + rng.normal(size=(tables, 1, len(METRICS), n))


def tables(values: Floats) -> list[pd.DataFrame]:
    """The summaries of runs with these values: tables × METHODS × METRICS × images."""
    found = []
    for start in range(0, len(values), AT_ONCE):
        some = values[start : start + AT_ONCE]
        summary = summarise(_frame(some), _info(len(some)))
        found += [of for _, of in summary.groupby("model", sort=False)]
    return found


DRAWS = {"alike": alike, "skewed to both sides": skewed}


def false_tables(draw: str, n: int, count: int, seed: int) -> dict[str, float]:
    """The share of tables, in which no method is better, with a cell shown to be better than random; with one shown to
    be better or worse; with a bold cell."""
    of = DRAWS[draw](np.random.default_rng(seed), count, n)
    found = [(_unmarked(t).any(), (t["p"] <= LEVEL).any(), t["best"].any()) for t in tables(of)]
    return dict(zip(("unmarked", "shown", "bold"), np.mean(found, 0).tolist(), strict=True))


def planted_tables(effect: float, n: int, count: int, seed: int) -> dict[str, float]:
    """One method of nine is better than all others and random, by `effect` standard deviations of the paired
    differences, under every metric. The share of its cells shown to be better than random, of those that alone are
    bold, and of tables with a wrong claim of either kind."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, len(METHODS), len(METRICS), n)) / np.sqrt(2)
    values[:, 1] += effect
    better, alone, wrong = [], [], []
    for table in tables(values):
        own = (table["method"] == METHODS[1]).to_numpy()
        better += _unmarked(table)[own].tolist()
        bold = table.pivot_table(index="metric", columns="method", values="best", aggfunc="first")
        mine = bold.pop(METHODS[1]).astype(bool)
        alone += (mine & ~bold.astype(bool).any(axis=1)).tolist()
        wrong.append(_unmarked(table)[~own].any() or (~mine & bold.astype(bool).any(axis=1)).any())
    return {"better": float(np.mean(better)), "alone": float(np.mean(alone)), "wrong": float(np.mean(wrong))}


def leads(which: str, images: int, count: int, seed: int) -> dict[str, float]:
    """Of runs until separated, with a look after every image: how many pairs are decided, the share of decided leads
    that are wrong, and of their intervals that miss the true share of images; both 0 where nothing is decided."""
    rng = np.random.default_rng(seed)
    effects = BETTER[which]
    own = dict(zip(METHODS, effects, strict=True))
    found = []
    for _ in range(count):
        values = rng.normal(size=(1, len(METHODS), len(METRICS), images)) + np.array(effects)[:, None, None]
        table = separations(_frame(values), dict.fromkeys(METRICS, "higher"), LEVEL)
        apart = table["first"].map(own) - table["second"].map(own)
        decided = (table["ahead"] != "open").to_numpy()
        wrong = np.where(table["ahead"] == "first", apart <= 0, apart >= 0)[decided]
        true = 2 * ndtr(apart / np.sqrt(2)) - 1
        missed = ((true < table["low"]) | (true > table["high"])).to_numpy()[decided]
        some = max(1, decided.sum())
        found.append((decided.mean(), decided.any(), wrong.sum() / some, missed.sum() / some))
    return dict(zip(("decided", "any", "wrong", "missed"), np.mean(found, 0).tolist(), strict=True))


def _unmarked(table: pd.DataFrame) -> np.ndarray:
    return np.array([bool(above) for above in table["above_random"]])


def _frame(values: Floats) -> pd.DataFrame:
    """A run's scores."""
    models, methods, metrics, n = values.shape
    return pd.DataFrame(
        {
            "model": np.repeat([f"net {i}" for i in range(models)], methods * metrics * n),
            "dataset": "data",
            "method": np.tile(np.repeat(METHODS, metrics * n), models),
            "metric": np.tile(np.repeat(METRICS, n), models * methods),
            "column": "auc",
            "sample": np.tile([f"image {i}" for i in range(n)], models * methods * metrics),
            "cluster": None,
            "value": values.ravel(),
            "status": "ok",
        }
    )


def _info(models: int) -> dict[str, Any]:
    return {
        "models": [{"name": f"net {i}"} for i in range(models)],
        "datasets": [{"name": "data"}],
        "methods": [{"label": name, "name": name, "control": name == "random"} for name in METHODS],
        "metrics": [{"label": name, "main": "auc", "better": {"auc": "higher"}} for name in METRICS],
    }
