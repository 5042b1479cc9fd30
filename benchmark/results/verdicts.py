"""The rule that decides: a verdict for each row of a comparison, and where there is none how many samples would do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camfaith.benchmark.results.families import holm, levels
from camfaith.benchmark.results.intervals import FEWEST
from camfaith.benchmark.results.paired import detectable, enough

LOST = 0.05
"""A candidate that lacks more than this share of the base's values has regressed, whatever the others say."""
EXIT_CODES = {"passed": 0, "improved": 0, "regressed": 1, "inconclusive": 2, "not comparable": 3}
_FIRST = ("regressed", "not comparable", "inconclusive", "improved")


def decide(rows: Sequence[dict[str, Any]], level: float) -> None:
    """Correct the p of all rows (Holm, each of the three tests over all rows), and add the verdict, why it is that
    where no test says it, the smallest loss that could have been seen, and for an inconclusive row how many samples (or
    clusters) would decide."""
    first_step = level / max(1, sum(not math.isnan(row["p_worse"]) for row in rows))
    steps = levels(np.array([row["p_within"] for row in rows], float), level)
    for test in ("p_within", "p_better", "p_worse"):
        for row, p in zip(rows, holm(np.array([row[test] for row in rows], float)), strict=True):
            row[test] = float(p)
    for row, own in zip(rows, steps, strict=True):
        row["verdict"], row["why"] = _verdict(row, level)
        row["needed"] = needed(row, own) if row["verdict"] == "inconclusive" else None
        row["detectable"] = float(detectable(row["deviation"], row["units"], 2 * first_step))


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
    """How many samples (or clusters) are `enough` to decide. The effect is the distance of the mean from the nearer of
    what is to be refuted: δ̂ + margin, or −δ̂ where the candidate looks worse than half a margin. `level` is corrected.
    """
    effect = max(row["difference"] + row["margin"], -row["difference"])
    return enough(effect, row["deviation"], row["units"], level)
