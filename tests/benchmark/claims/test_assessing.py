"""The numbers behind a verdict, against peers and slow references written from the papers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score

from camfaith.benchmark.claims.assessing import assess
from camfaith.benchmark.claims.auroc import placements, spread_out
from camfaith.benchmark.claims.declaration import CHANCE, Claim
from camfaith.benchmark.claims.share import explained_share

RNG = np.random.default_rng(5)
OUTCOME = RNG.random(60) < 0.7
VALUES = np.round(RNG.normal(size=60) + OUTCOME, 1)  # with ties
OTHER = np.round(RNG.normal(size=60) + 0.5 * OUTCOME, 1)
UNITS = RNG.integers(0, 20, 60).tolist()
METRIC = {"metric": "mass", "method": "a"}


def claim(says, **keys):
    return Claim.model_validate({"sentence": "s", "reading": "r", "measure": METRIC, "says": says} | keys)


def kernel(x, y):
    return 1.0 if x > y else 0.5 if x == y else 0.0


def obuchowski(first, second, outcome, units):
    """The variance of a difference of two AUROC (Obuchowski 1997, equations 2 to 5), sums over all pairs written out;
    a cluster for each sample is DeLong's. Here the sums of squares are divided by I and not by I − 1."""
    m, n = outcome.sum(), (~outcome).sum()
    parts = []
    for values in (first, second):
        area = np.mean([kernel(x, y) for x in values[outcome] for y in values[~outcome]])
        per = {}
        for value, has, unit in zip(values, outcome, units, strict=True):
            own = per.setdefault(unit, [0.0, 0.0])
            if has:
                own[0] += np.mean([kernel(value, y) for y in values[~outcome]]) - area
            else:
                own[1] += np.mean([kernel(x, value) for x in values[outcome]]) - area
        parts.append(np.array(list(per.values())))
    with_, without = (parts[0] - parts[1]).T
    return (with_**2).sum() / m**2 + (without**2).sum() / n**2 + 2 * (with_ * without).sum() / (m * n)


@pytest.mark.parametrize("units", [list(range(60)), UNITS], ids=["DeLong", "Obuchowski"])
def test_an_auroc_has_sklearns_value_and_the_published_variance(units):
    placed = placements(VALUES, OUTCOME) - placements(OTHER, OUTCOME)
    areas = [roc_auc_score(OUTCOME, values) for values in (VALUES, OTHER)]
    assert placements(VALUES, OUTCOME)[OUTCOME].mean() == pytest.approx(areas[0], abs=1e-14)
    assert placements(VALUES, OUTCOME)[~OUTCOME].mean() == pytest.approx(areas[0], abs=1e-14)
    d = spread_out(placed, OUTCOME, areas[0] - areas[1])
    sums = np.array([d[np.array(units) == unit].sum() for unit in set(units)])
    assert (sums**2).sum() / 60**2 == pytest.approx(obuchowski(VALUES, OTHER, OUTCOME, units), rel=1e-12)
    assert spread_out(placed, OUTCOME, 0.1).mean() == pytest.approx(areas[0] - areas[1] - 0.1, abs=1e-14)


def test_a_prediction_is_measured_against_chance_or_another_quantity():
    values = pd.DataFrame({"measure": VALUES, "against": OTHER, "outcome": OUTCOME.astype(float)})
    chance = values.assign(against=CHANCE)
    alone = assess(claim("predicts"), chance, None)
    assert (alone.measured, alone.against) == (pytest.approx(roc_auc_score(OUTCOME, VALUES)), 0.5)
    assert alone.difference == pytest.approx(alone.measured - 0.5)
    assert alone.low < alone.difference < alone.high
    both = assess(claim("predicts", against=METRIC | {"method": "b"}), values, None)
    assert both.against == pytest.approx(roc_auc_score(OUTCOME, OTHER))
    assert both.p > alone.p
    near = chance.assign(measure=VALUES - 0.75 * OUTCOME)
    ranks = stats.mannwhitneyu(*(near["measure"][one == OUTCOME] for one in (True, False)), alternative="greater")
    assert 0.05 < assess(claim("predicts"), near, None).p == pytest.approx(ranks.pvalue, rel=0.1)
    rare = assess(claim("predicts"), chance.assign(outcome=(np.arange(60) > 2).astype(float)), None)
    assert np.isnan(rare.low)
    assert rare.scarce == "only 3 of 60 are 0 in the outcome"


def fieller(effect, left, units):
    """Both shares at which a t test of clusters' sums begins to refute, found from the share itself outwards."""
    names, n = sorted(set(units)), len(effect)

    def beyond(share):
        z = left - (1 - share) * effect
        sums = np.array([(z - z.mean())[np.array(units) == unit].sum() for unit in names])
        error = np.sqrt((sums**2).sum() * len(names) / (len(names) - 1)) / n
        return abs(z.mean()) / error - stats.t.ppf(0.975, len(names) - 1)

    share = 1 - left.mean() / effect.mean()
    return brentq(beyond, share - 2, share), brentq(beyond, share, share + 2)


@pytest.mark.parametrize("units", [list(range(60)), UNITS], ids=["samples", "clusters"])
def test_the_share_explained_has_fiellers_interval(units):
    effect = RNG.normal(1, 0.8, 60)
    left = 0.4 * effect + RNG.normal(0, 0.5, 60)
    found = explained_share(effect, left, units)
    assert found.share == pytest.approx(1 - left.mean() / effect.mean())
    assert (found.low, found.high) == pytest.approx(fieller(effect, left, units), rel=1e-9)
    nothing = explained_share(effect - effect.mean() + 0.01, left, units)
    assert np.isnan([nothing.low, nothing.high]).all()


def hall(d, side):
    """P by Hall's transformation (1992) of Student's t."""
    t, g = stats.ttest_1samp(d, 0).statistic, stats.skew(d) / np.sqrt(len(d))
    t = t + g * t**2 / 3 + g**2 * t**3 / 27 + g / 6
    return stats.t.sf(t if side == "greater" else -t, len(d) - 1)


@pytest.mark.parametrize(
    ("says", "margin", "refuting", "refuted"),
    [
        ("greater", 0.3, ("greater", 0.3), ("less", 0.3)),
        ("less", 0.3, ("less", -0.3), ("greater", -0.3)),
        ("not less", 0.3, ("greater", -0.3), ("less", -0.3)),
        ("not greater", 0.3, ("less", 0.3), ("greater", 0.3)),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_an_order_is_one_sided_on_each_side_of_its_edge(says, margin, refuting, refuted, seed):
    d = np.random.default_rng(seed).exponential(size=10) - 1
    values = pd.DataFrame({"measure": d, "against": np.zeros(10)})
    found = assess(claim(says, against=0, margin=margin), values, None)
    for p, (side, edge) in ((found.p, refuting), (found.p_against, refuted)):
        exact = stats.permutation_test(
            (d - edge,), np.sum, permutation_type="samples", alternative=side, n_resamples=np.inf
        )
        assert p == pytest.approx(max(exact.pvalue, hall(d - edge, side)), abs=1e-12)
    assert found.distance == pytest.approx(abs(d.mean() - refuting[1]))


def test_equal_needs_both_sides_and_is_contradicted_by_either():
    for shift, side in ((0.0, "p"), (2.0, "p_against"), (-2.0, "p_against")):
        d = stats.norm.ppf((np.arange(20) + 0.5) / 20) + shift
        found = assess(claim("equal", against=0, margin=1.0), pd.DataFrame({"measure": d, "against": 0.0}), None)
        assert getattr(found, side) < 0.01 < 0.5 < found.p + found.p_against
        assert found.distance == pytest.approx(1.0)


def test_an_explanation_needs_an_effect_and_its_share():
    effect, keys = RNG.normal(1, 0.3, 40), {"against": 2.0, "changed": METRIC, "margin": 0.5}
    parts = {"against": 2.0, "changed_against": 1.0}
    for left, says in ((0.2, "p"), (0.8, "p_against")):
        values = pd.DataFrame(parts | {"measure": 2 + effect, "changed": 1 + left * effect})
        found = assess(claim("explains", **keys), values, None)
        assert getattr(found, says) < 1e-6
        assert (found.difference, found.measured) == (pytest.approx(1 - left), pytest.approx(effect.mean()))
    for left in (-1, 1):
        values = pd.DataFrame(parts | {"measure": 2 + effect - effect.mean(), "changed": 1.0 + left})
        none = assess(claim("explains", **keys), values, None)
        assert min(none.p, none.p_against) >= none.p_effect > 0.4
