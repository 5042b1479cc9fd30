"""The rule that decides: a verdict for each row of a comparison, and where there is none how many samples would do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from camfaith.benchmark.results.families import holm
from camfaith.benchmark.results.intervals import FEWEST, Floats
from camfaith.benchmark.results.paired import POWER

LOST = 0.05
"""A candidate that lacks more than this share of the base's values has regressed, whatever the others say."""
EXIT_CODES = {"passed": 0, "improved": 0, "regressed": 1, "inconclusive": 2, "not comparable": 3}
_FIRST = ("regressed", "not comparable", "inconclusive", "improved")


def decide(rows: Sequence[dict[str, Any]], level: float) -> None:
    """Correct the p of all rows (Holm, each of the three tests over all rows), and add the verdict, why it is that
    where no test says it, and for an inconclusive row how many samples (or clusters) would decide."""
    levels = _levels(np.array([row["p_within"] for row in rows], float), level)
    for test in ("p_within", "p_better", "p_worse"):
        for row, p in zip(rows, holm(np.array([row[test] for row in rows], float)), strict=True):
            row[test] = float(p)
    for row, own in zip(rows, levels, strict=True):
        row["verdict"], row["why"] = _verdict(row, level)
        row["needed"] = needed(row, own) if row["verdict"] == "inconclusive" else None


def _verdict(row: Mapping[str, Any], level: float) -> tuple[str, str]:
    had = row["n"] + row["lost"]
    if row["differs"]:
        return "not comparable", str(row["differs"])
    if row["lost"] > LOST * had:
        return "regressed", f"the candidate lacks {row['lost']} of {had} values that the base has{row['reason']}"
    if not row["n"]:
        return "not comparable", "no sample has a value in both"
    if row["units"] < FEWEST:
        return "not comparable", f"{row['units']} common samples or clusters; at least {FEWEST} are needed"
    if row["equal"]:
        return "passed", "equal to the bit" if row["equal"] == "bit" else "equal but for rounding"
    if math.isnan(row["margin"]):
        return "not comparable", str(row["of_margin"])
    if row["p_within"] <= level:
        return ("improved" if row["p_better"] <= level else "passed"), ""
    return ("regressed" if row["p_worse"] <= level else "inconclusive"), ""


def whole(verdicts: Sequence[str]) -> str:
    """What several verdicts come to; nothing compared is not comparable."""
    return next((v for v in _FIRST if v in verdicts), "passed") if verdicts else "not comparable"


def needed(row: Mapping[str, Any], level: float) -> int:
    """How many samples (or clusters) would decide with a power of 80 %, if mean and spread stay as they are:
    n = ((z_{1−α} + z_{0.8})·s / e)², where e is the distance of the mean from the nearer of what is to be refuted:
    δ̂ + margin, or −δ̂ where the candidate looks worse than half a margin. α is the corrected level."""
    effect = max(row["difference"] + row["margin"], -row["difference"])
    z = float(ndtri(1 - level) + ndtri(POWER))
    count = math.ceil((z * row["deviation"] / effect) ** 2)
    return int(max(count, row["units"] + 1, math.ceil(-math.log2(level))))


def _levels(p: Floats, level: float) -> Floats:
    """What Holm's procedure compares each p with."""
    found = np.full(len(p), level)
    known: NDArray[np.intp] = np.flatnonzero(~np.isnan(p))
    found[known[np.argsort(p[known], kind="stable")]] = level / np.arange(len(known), 0, -1)
    return found
