"""What the gate says of a method that has not changed, and of one that has lost something."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
from draws import Floats

from camfaith.benchmark.results.comparison import compare
from camfaith.benchmark.results.sides import REACH, SAMPLES, VALUES, Side

METRICS = [f"metric {i}" for i in range(1, 9)]
MARGIN = 0.05
"""5 % of the distance from random to the best known map, which is 1."""
VERDICTS = ("passed", "improved", "inconclusive", "regressed")


def verdicts(loss: float, losing: int, spread: float, n: int, count: int, seed: int) -> dict[str, float]:
    """The share of comparisons with each verdict, and of cells that have lost something and are said to have regressed.

    The candidate loses `loss` margins under so many of 8 metrics. Both sides are the same values with noise of their
    own, normal under half of the metrics and exponential under the others, so that their differences have a standard
    deviation of `spread` margins.
    """
    rng = np.random.default_rng(seed)
    whole: Counter[str] = Counter()
    cells = []
    lost = np.where(np.arange(len(METRICS)) < losing, loss * MARGIN, 0)[:, None]
    for _ in range(count):
        image = rng.normal(0.5, 0.2, (len(METRICS), n))
        base, candidate = (image + spread * MARGIN / np.sqrt(2) * _noise(rng, n) for _ in range(2))
        found = compare(side(base), side(candidate - lost), "5%")
        whole[found.verdict] += 1
        cells += list(found.rows["verdict"][:losing] == "regressed")
    shares = {verdict: whole[verdict] / count for verdict in VERDICTS}
    return shares | {"cells": float(np.mean(cells)) if cells else np.nan}


def _noise(rng: np.random.Generator, n: int) -> Floats:
    shape = len(METRICS), n
    return np.where(np.arange(len(METRICS))[:, None] % 2, rng.normal(size=shape), rng.exponential(size=shape) - 1)


def side(values: Floats) -> Side:
    """What a method got in a run: METRICS × images."""
    samples = [f"image {i}" for i in range(values.shape[1])]
    rows = pd.DataFrame(
        {
            "model": "net",
            "dataset": "data",
            "sample": np.tile(samples, len(METRICS)),
            "metric": np.repeat(METRICS, len(samples)),
            "column": "auc",
            "value": values.ravel(),
            "status": "ok",
            "error": "",
        }
    )
    about = [("net", "data", sample, None, sample, 1, 2.5, 1.0, 1.0) for sample in samples]
    reach = pd.DataFrame([("net", "data", m, "auc", 0.0, 1.0, "best", 0.8) for m in METRICS], columns=REACH)
    return Side(
        source="run",
        stored="run",
        method={"label": "cam", "name": "cam", "key": "cam", "layers": {}},
        made={"target": "predicted", "seed": 0, "allow": [], "device": "cpu", "status": "complete", "versions": {}},
        models={"net": {}},
        metrics={m: {"label": m, "name": m, "key": m, "main": "auc", "better": {"auc": "higher"}} for m in METRICS},
        values=rows[VALUES],
        samples=pd.DataFrame(about, columns=SAMPLES).astype({"target": "Int64"}),
        find_reach=lambda: reach,
    )
