"""The rule that decides: a verdict for each row, and where there is none why, and how many samples would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camfaith.benchmark.claims.assessing import ALIKE
from camfaith.benchmark.results.families import holm, levels
from camfaith.benchmark.results.paired import enough

OPEN = "the samples do not tell"
NOTHING = "there is no effect to explain: it is not shown to be above 0"
NEAR = 1e-3
"""A mean no further from the edge of a claim than this share of the values' deviation lies on it."""


def decide(rows: Sequence[dict[str, Any]], level: float) -> None:
    """Correct the p of all rows (Holm, each of the two tests over all rows), and add verdict, why and needed."""
    tests = {test: np.array([row[test] for row in rows], float) for test in ("p", "p_against")}
    steps = np.where(tests["p"] <= tests["p_against"], *(levels(p, level) for p in tests.values()))
    for test, found in tests.items():
        for row, p in zip(rows, holm(found), strict=True):
            row[test] = float(p)
    for row, step in zip(rows, steps, strict=True):
        row["verdict"], row["why"] = _verdict(row, level)
        row["needed"] = None
        if row["why"] == NOTHING:  # whose share would be a quotient of noise
            row |= dict.fromkeys(("difference", "low", "high"), np.nan)
        if row["why"].startswith(OPEN) and row["scarce"] != ALIKE:
            row["needed"] = enough(row["distance"], row["deviation"], row["units"], float(step))


def _verdict(row: Mapping[str, Any], level: float) -> tuple[str, str]:
    if row["refused"]:
        return "undecided", str(row["refused"])
    if row["p_effect"] > level:
        return "undecided", NOTHING
    if row["p"] <= level:
        return "supported", ""
    if row["p_against"] <= level:
        return "contradicted", ""
    if row["distance"] <= NEAR * row["deviation"]:
        return "undecided", "the mean lies on the edge of the claim"
    return "undecided", f"{OPEN}: {row['scarce']}" if row["scarce"] else OPEN
