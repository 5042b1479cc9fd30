"""The test of one claim: how likely its values were if the claim were false, and if it were true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from camfaith.benchmark.claims.auroc import Outcome, placements, spread_out
from camfaith.benchmark.claims.declaration import Claim
from camfaith.benchmark.claims.share import explained_share
from camfaith.benchmark.results.intervals import FEWEST, Floats, Interval, mean_interval, mean_tails
from camfaith.benchmark.results.paired import differences
from camfaith.benchmark.results.signflip import sign_flip

Units = Sequence[Any] | None
ALIKE = "nearly all values are one, and the rest is unknown"
EDGES = {"greater": (1, 1), "not greater": (1, -1), "less": (-1, -1), "not less": (-1, 1)}
"""Where the edge of a claim is, in margins, and on which side of it the mean is said to lie."""


class Assessed(NamedTuple):
    """What came of a claim on one model and data set; the defaults are of a claim that was not tested.

    `difference` with its interval is measured − against, or a share. `p` is that of the test which would support the
    claim, `p_against` of that which would contradict it, `p_effect` that there is something to explain (NaN where
    nothing is to be). `distance`: from the tested mean to the nearest edge of the claim; `deviation`: of a unit's part
    in that mean. `scarce`: what there is too little of for an interval.
    """

    n: int = 0
    units: int = 0
    measured: float = np.nan
    against: float = np.nan
    difference: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    p_against: float = np.nan
    p_effect: float = np.nan
    distance: float = np.nan
    deviation: float = np.nan
    scarce: str = ""


def assess(claim: Claim, values: pd.DataFrame, units: Units) -> Assessed:
    """Test a claim on samples that have all its quantities: a column of `values` for each part of the claim, a unit for
    each sample (None: itself).

    Orders: d = measure − against, and the claim says that mean d lies above, or below, an edge: the margin, or its
    negative; of *equal*, between both (two one-sided tests: Schuirmann 1987). *predicts*: d is the difference of two
    AUROC, `spread_out` over samples. *explains*: with e = measure − against and l the same after the intervention,
    d = (1 − margin)·e − l, whose mean is positive where the share 1 − mean l/mean e is more than the margin, if mean e
    is positive; so that is tested too, and the larger p counts.
    """
    return {"predicts": _prediction, "explains": _share}.get(claim.says, _order)(claim, values, units)


def _order(claim: Claim, values: pd.DataFrame, units: Units) -> Assessed:
    a, b = (values[part].to_numpy(float) for part in ("measure", "against"))
    d = differences(a, b)
    p, p_against = _sides(d, claim.says, claim.margin, units)
    found = _mean_of(d, units)
    return Assessed(
        n=found.n,
        units=found.units,
        measured=_mean(a),
        against=_mean(b),
        difference=found.mean,
        low=found.low,
        high=found.high,
        p=p,
        p_against=p_against,
        distance=_distance(found.mean, claim.says, claim.margin),
        deviation=found.deviation,
        scarce=_scarce(p, p_against),
    )


def _prediction(claim: Claim, values: pd.DataFrame, units: Units) -> Assessed:
    outcome = values["outcome"].to_numpy(float) > 0
    a, b = (placements(values[part].to_numpy(float), outcome) for part in ("measure", "against"))
    area, other = (float(placed[outcome].mean()) for placed in (a, b))
    difference = area - other
    d = spread_out(a - b, outcome, claim.margin)
    above, below = _tails(d, units)
    found, around = _mean_of(d, units), _mean_of(spread_out(a - b, outcome, difference), units)
    rare, value = min((len({*names}), value) for value, names in _by_outcome(outcome, units).items())
    scarce = f"only {rare} of {found.units} are {value} in the outcome" if rare < FEWEST else ""
    return Assessed(
        n=found.n,
        units=found.units,
        measured=area,
        against=other,
        difference=difference,
        low=np.nan if scarce else difference + around.low,
        high=np.nan if scarce else difference + around.high,
        p=float(above[0]),
        p_against=float(below[0]),
        distance=abs(difference - claim.margin),
        deviation=found.deviation,
        scarce=scarce,
    )


def _by_outcome(outcome: Outcome, units: Units) -> dict[int, list[Any]]:
    """The units of samples with each outcome."""
    names = range(len(outcome)) if units is None else units
    return {one: [name for name, has in zip(names, outcome, strict=True) if has == one] for one in (0, 1)}


def _share(claim: Claim, values: pd.DataFrame, units: Units) -> Assessed:
    before, reference, after, changed = (
        values[part].to_numpy(float) for part in ("measure", "against", "changed", "changed_against")
    )
    effect, left = differences(before, reference), differences(after, changed)
    d = (1 - claim.margin) * effect - left
    found = _mean_of(d, units)
    p, p_against = _sides(d, "greater", 0.0, units)
    share = explained_share(effect, left, units)
    p_effect = float(_tails(effect, units)[0][0])
    return Assessed(
        n=found.n,
        units=found.units,
        measured=_mean(effect),
        against=_mean(left),
        difference=share.share,
        low=share.low,
        high=share.high,
        p=max(p, p_effect),
        p_against=max(p_against, p_effect),
        p_effect=p_effect,
        distance=abs(found.mean),
        deviation=found.deviation,
        scarce=_scarce(p, p_against),
    )


def _sides(d: Floats, says: str, margin: float, units: Units) -> tuple[float, float]:
    """The p for a claim and against it."""
    above, below = _tails(np.stack([d - margin, d + margin]), units)  # the margin, minus the margin
    if says == "equal":
        return float(max(below[0], above[1])), float(min(1, 2 * min(above[0], below[1])))
    edge, side = EDGES[says]
    at = 0 if edge > 0 else 1
    p, against = (above[at], below[at]) if side > 0 else (below[at], above[at])
    return float(p), float(against)


def _tails(d: Floats, units: Units) -> tuple[Floats, Floats]:
    """The p of each row's mean being greater than 0, and less: the larger of the sign-flip test's, which is exact for
    symmetric differences, and of that by which intervals are made, which knows skewed ones."""
    flips, skewed = sign_flip(d, units), mean_tails(d, units)
    return np.fmax(flips.greater, skewed[0]), np.fmax(flips.less, skewed[1])


def _scarce(p: float, p_against: float) -> str:
    """Both are 1 where there is no interval: else they add up to about 1."""
    return ALIKE if p == p_against == 1 else ""


def _distance(mean: float, says: str, margin: float) -> float:
    """How far a mean is from the nearest edge of the claim."""
    return abs(margin - abs(mean)) if says == "equal" else abs(mean - EDGES[says][0] * margin)


def _mean_of(d: Floats, units: Units) -> Any:
    """The `mean_interval` of one row, in plain numbers."""
    found: Any = mean_interval(d, units)
    return Interval(*(each.item() for each in found))


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else np.nan
