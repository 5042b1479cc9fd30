"""The rule that decides: a verdict for each row, and where there is none why, and how many samples would do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camfaith.benchmark.results.families import holm, levels
from camfaith.benchmark.results.intervals import FEWEST
from camfaith.benchmark.results.paired import enough


def decide(rows: Sequence[dict[str, Any]], level: float) -> None:
    """Correct the p of all rows (Holm, each of the two tests over all rows), and add verdict, why and needed."""
    steps = {}
    for test in ("p", "p_against"):
        found = np.array([row[test] for row in rows], float)
        steps[test] = levels(found, level)
        for row, p in zip(rows, holm(found), strict=True):
            row[test] = float(p)
    for place, row in enumerate(rows):
        row["verdict"], row["why"] = _verdict(row, level)
        row["needed"] = None
        if row["verdict"] == "undecided" and not row["refused"] and row["distance"] > 0:
            likelier = "p" if row["p"] <= row["p_against"] else "p_against"
            row["needed"] = enough(row["distance"], row["deviation"], row["units"], float(steps[likelier][place]))


def _verdict(row: Mapping[str, Any], level: float) -> tuple[str, str]:
    if row["refused"]:
        return "undecided", str(row["refused"])
    if row["p_effect"] > level:
        return "undecided", "there is no effect to explain: it is not shown to be above 0"
    if row["p"] <= level:
        return "supported", ""
    if row["p_against"] <= level:
        return "contradicted", ""
    if row["distance"] == 0:
        return "undecided", "no difference at all from what is to be refuted"
    return "undecided", "the samples do not tell"


def refusal(n: int, units: int, lost: int, clustered: bool) -> str:
    """Why so few samples are not tested; "" where they are enough."""
    if not n:
        return "no sample has a value" if lost else "no sample is in the scope"
    if units < FEWEST:
        return f"too few: {units} {'clusters' if clustered else 'samples'}; at least {FEWEST} are needed"
    return ""


def nothing_tested() -> dict[str, Any]:
    """The numbers of a row that was not tested."""
    numbers = ("measured", "against", "difference", "low", "high", "p", "p_against", "p_effect", "distance")
    return dict.fromkeys(numbers, math.nan) | {"n": 0, "units": 0, "lost": 0, "deviation": math.nan}
