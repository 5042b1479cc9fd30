"""How often a claim that is just not true is supported, and one that is just true contradicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from draws import CLUSTERS, Floats, drawn
from numpy.random import Generator

from camfaith.benchmark.claims.assessing import assess
from camfaith.benchmark.claims.declaration import CHANCE, Claim

LEVEL = 0.05
MARGIN = 0.3
METRIC = {"metric": "mass", "method": "a"}
ORDERS = ("greater", "less", "equal", "not less", "not greater")
SHARE_RIGHT = 0.75
"""Of the images, those with the outcome."""
KINDS = {
    **{says: {"says": says, "margin": MARGIN, "against": 0} for says in ORDERS},
    "predicts": {"says": "predicts"},
    "predicts better": {"says": "predicts", "against": METRIC | {"method": "b"}},
    "explains half": {"says": "explains", "margin": 0.5, "changed": METRIC},
    "explains nothing": {"says": "explains", "margin": 0.5, "changed": METRIC},
}
"""Claims of each kind; `made` draws values on the edge of each."""


def on_the_edge(kind: str, values: str, n: int, rows: int, seed: int) -> dict[str, float]:
    """The share of rows whose claim is supported, and contradicted, each at `LEVEL`; and of the intervals that are
    shown those that cover the truth."""
    rng = np.random.default_rng(seed)
    claim = Claim.model_validate({"sentence": "s", "reading": "r", "measure": METRIC} | KINDS[kind])
    found = []
    for _ in range(rows):
        table, units, truth = made(kind, values, n, rng)
        one = assess(claim, table, units)
        found.append((one.p, one.p_against, one.low - truth, one.high - truth))
    p, against, low, high = np.array(found).T
    shown = np.isfinite(low) & np.isfinite(high)
    return {
        "supported": float((p <= LEVEL).mean()),
        "contradicted": float((against <= LEVEL).mean()),
        "covered": float(((low <= 1e-12) & (high >= -1e-12))[shown].mean()) if shown.any() else np.nan,
        "shown": int(shown.sum()),
    }


def made(kind: str, values: str, n: int, rng: Generator) -> tuple[pd.DataFrame, Sequence[Any] | None, float]:
    """Values of a claim's parts, the units of the samples, and the true difference or share."""
    noise, units = drawn(values, rng, 1, n)
    d: Floats = noise[0]
    other: Floats = noise_like(values, rng, d, units)
    if kind in ORDERS:
        edge = -MARGIN if kind in ("less", "not less") else MARGIN
        return pd.DataFrame({"measure": d + edge, "against": 0.0}), units, edge
    if kind.startswith("predicts"):
        outcome = np.zeros(len(d))
        while 0 in (outcome.sum(), (1 - outcome).sum()):
            outcome = (rng.random(len(d)) < SHARE_RIGHT).astype(float)
        columns = {"measure": d, "against": CHANCE, "outcome": outcome}
        if kind == "predicts better":  # both are equally good, and share half of their noise
            shared = d + outcome
            columns |= {"measure": shared + 0.7 * other, "against": shared + 0.7 * rng.permutation(other)}
        return pd.DataFrame(columns), units, 0.0
    effect = d + (0.5 if kind == "explains half" else 0.0)
    left = 0.5 * effect + 0.5 * other if kind == "explains half" else 0.5 * other
    columns = {"measure": effect, "against": 0.0, "changed": left, "changed_against": 0.0}
    return pd.DataFrame(columns), units, 0.5 if kind == "explains half" else np.nan


def noise_like(values: str, rng: Generator, d: Floats, units: Sequence[Any] | None) -> Floats:
    """Noise of that kind, of the same samples in the same clusters."""
    if values != CLUSTERS or units is None:
        return drawn(values, rng, 1, len(d))[0][0]
    own = rng.exponential(size=max(units) + 1) - 1
    return own[list(units)] + rng.normal(size=len(d))
