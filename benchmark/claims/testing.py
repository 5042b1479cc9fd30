"""The test of one claim: how likely its values were if the claim were false, and if it were true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from camfaith.benchmark.claims.declaration import Claim
from camfaith.benchmark.claims.explaining import explained_share
from camfaith.benchmark.claims.predicting import placed
from camfaith.benchmark.results.intervals import Floats, mean_interval
from camfaith.benchmark.results.paired import differences
from camfaith.benchmark.results.signflip import sign_flip

EDGES = {"greater": (1, 1), "not greater": (1, -1), "less": (-1, -1), "not less": (-1, 1)}
"""Where the edge of a claim is, in margins, and on which side of it the mean is said to lie."""


class Tested(NamedTuple):
    """What came of a claim on one model and data set.

    `difference` with its interval is measured − against, or a share. `p` is that of the test which would support the
    claim, `p_against` of that which would contradict it, `p_effect` that there is something to explain (NaN where
    nothing is to be). `distance`: from the tested mean to the nearest edge of the claim; `deviation`: of a unit's part
    in that mean.
    """

    n: int
    units: int
    measured: float
    against: float
    difference: float
    low: float
    high: float
    p: float
    p_against: float
    p_effect: float
    distance: float
    deviation: float


def tested(claim: Claim, values: pd.DataFrame, units: Sequence[Any] | None) -> Tested:
    """Test a claim on samples that have all its quantities: a column of `values` for each part of the claim, a unit for
    each sample (None: itself).

    Orders: d = measure − against, and the claim says that mean d lies above, or below, an edge: the margin, or its
    negative; of *equal*, between both (two one-sided tests: Schuirmann 1987). *predicts*: d is the difference of two
    AUROC, each the mean of its `placed` values. *explains*: with e = measure − against and l the same after the
    intervention, d = (1 − margin)·e − l, whose mean is positive where the share 1 − mean l/mean e is more than the
    margin, if mean e is positive; so that is tested too, and the larger p counts.
    """
    if claim.says == "explains":
        return _share(claim, values, units)
    a, b = (values[part].to_numpy(float) for part in ("measure", "against"))
    says = claim.says
    if says == "predicts":
        outcome, says = values["outcome"].to_numpy(float) > 0, "greater"
        a, b = placed(a, outcome), np.full(len(a), 0.5) if claim.against is None else placed(b, outcome)
        d = a - b
    else:
        d = differences(a, b)
    mean, low, high, n, held, deviation = (each[0] for each in mean_interval(d, units))
    p, p_against, distance = _sides(d, says, claim.margin, units)
    return Tested(
        n=int(n),
        units=int(held),
        measured=_mean(a),
        against=_mean(b),
        difference=float(mean),
        low=float(low),
        high=float(high),
        p=p,
        p_against=p_against,
        p_effect=np.nan,
        distance=distance,
        deviation=float(deviation),
    )


def _share(claim: Claim, values: pd.DataFrame, units: Sequence[Any] | None) -> Tested:
    before, reference, after, changed = (
        values[part].to_numpy(float) for part in ("measure", "against", "changed", "changed_against")
    )
    effect, left = before - reference, after - changed
    d = (1 - claim.margin) * effect - left
    _, _, _, n, held, deviation = (each[0] for each in mean_interval(d, units))
    p, p_against, distance = _sides(d, "greater", 0.0, units)
    p_effect = float(sign_flip(effect, units).greater[0])
    return Tested(
        n=int(n),
        units=int(held),
        measured=_mean(effect),
        against=_mean(left),
        **dict(zip(("difference", "low", "high"), explained_share(effect, left, units), strict=True)),
        p=max(p, p_effect),
        p_against=max(p_against, p_effect),
        p_effect=p_effect,
        distance=distance,
        deviation=float(deviation),
    )


def _sides(d: Floats, says: str, margin: float, units: Sequence[Any] | None) -> tuple[float, float, float]:
    """The p for a claim and against it, and how far the mean is from the nearest edge."""
    shifted = np.stack([d - margin, d + margin])
    above, below = sign_flip(shifted, units)
    mean = _mean(d)
    if says == "equal":
        p, against = max(below[0], above[1]), min(1, 2 * min(above[0], below[1]))
        return float(p), float(against), abs(margin - abs(mean))
    edge, side = EDGES[says]
    at = 0 if edge > 0 else 1
    p, against = (above[at], below[at]) if side > 0 else (below[at], above[at])
    return float(p), float(against), abs(mean - edge * margin)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else np.nan
