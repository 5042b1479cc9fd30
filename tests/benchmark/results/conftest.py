"""Sides of a comparison, made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from camfaith.benchmark.results.sides import REACH, SAMPLES, VALUES, Side

BETTER = {"deletion": "lower", "insertion": "higher", "road": "higher"}


def made_up(values: dict[str, Any], clusters: Any = None, reach: float | None = 1.0, **changes: Any) -> Side:
    """A side with these values, a row of samples for each metric. `reach` is the distance from random to the best map.
    `changes` replace facts, as `models__tiny__head="sigmoid"`, or a column, as `samples__digest=[...]`."""
    n = len(next(iter(values.values())))
    ids = [f"s{i:03d}" for i in range(n)]
    rows = [
        ("tiny", "data", sample, metric, "auc", value, "ok" if value == value else "undefined", "")
        for metric, row in values.items()
        for sample, value in zip(ids, row, strict=True)
    ]
    rows += [("tiny", "data", sample, "deletion", "ties", 0.5, "ok", "") for sample in ids]
    samples = [
        ("tiny", "data", s, None if clusters is None else clusters[i], f"d{s}", 1, 2.5, 1.0, 1.0)
        for i, s in enumerate(ids)
    ]
    metrics = {
        m: {"label": m, "name": m, "key": f"key-{m}", "version": "1", "parameters": {"steps": 16}, "main": "auc"}
        | {"better": {"auc": BETTER[m]}}
        for m in values
    }
    known = [("tiny", "data", metric, "auc", 0.5, reach, "other", 0.4) for metric in values if reach is not None]
    table = pd.DataFrame(known, columns=REACH)
    facts: dict[str, Any] = {
        "source": "baselines/cam.parquet",
        "stored": "baseline",
        "method": {"label": "cam", "name": "cam", "key": "cam", "control": False, "layers": {"tiny": "body"}},
        "made": {"target": "predicted", "seed": 0, "allow": [], "device": "cpu", "status": "complete"}
        | {"created": "2025", "versions": {"camfaith": "0.1.0", "torch": "2.6.0"}},
        "models": {"tiny": {"weights_sha256": "ab", "head": "softmax", "mean": [0.5], "classes": ["a", "b"]}},
        "metrics": metrics,
        "values": pd.DataFrame(rows, columns=VALUES),
        "samples": pd.DataFrame(samples, columns=SAMPLES).astype({"target": "Int64"}),
        "find_reach": lambda: table,
    }
    for name, value in changes.items():
        *path, last = name.split("__")
        place: Any = facts
        for part in path:
            place = place[part]
        place[last] = value
    return Side(**facts)


@pytest.fixture
def side() -> Callable[..., Side]:
    return made_up


@pytest.fixture
def noise() -> Callable[..., Any]:
    return lambda *shape, seed=0: np.random.default_rng(seed).normal(size=shape)
