"""Which method is better than which on more images than not, tested after every image and right at the declared level.

A pair of methods is compared on one metric by signs d_t: 1 where the first is better on image t, −1 where the second
is, 0 where they tie. A gambler who bets on d > 0, at odds that are fair if both are equally likely, ever multiplies the
capital by 1/α with probability at most α, however often anyone looks (Ville 1939). The bets are spread as in Cover &
Ordentlich's universal portfolio ("Universal portfolios with side information", IEEE Trans. Inf. Theory 42(2), 1996) on
a grid (the "hgKelly" of Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS-B 86(1),
2024): up to 63 images, the mean of both sides' capital is Krichevsky & Trofimov's for coins ("The performance of
universal encoding", IEEE Trans. Inf. Theory 27(2), 1981). At least log(1/α)/log 2 images are needed, 15 for α = 5e-5.

The target is the population that the images are drawn from, independently and in random order, not the data set at
hand. Nothing is said of the size of the difference: no test of means in [−1, 1] that is valid for all distributions can
settle a mean difference d before log(1/α)/log(1 + d) images (104 for d = 0.1 and that α), so means are not tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from camfaith.benchmark.statistics import TIED, Floats

Counts = NDArray[np.int64]

BETS: Floats = np.cos(np.pi * (np.arange(16) + 0.5) / 32)
"""The shares λ_j of the capital that are bet: the 16 positive of 32 Chebyshev nodes, denser near 1 (all is bet)."""
SEPARATION_COLUMNS = ("metric", "first", "second", "ahead", "images", "low", "high")


def arrivals(scores: pd.DataFrame, main: Mapping[str, str]) -> pd.DataFrame:
    """The rows of a run's long `scores` that are tested: those of each metric's `main` column, in their order.

    `scores`: of one model and data set. Of each cluster only the first sample: its images are no independent draws.
    Rows about a method or a sample alone are of no metric, so they are left out.
    """
    rows = scores[scores["column"] == scores["metric"].map(dict(main))]
    first = rows["sample"].groupby(rows["cluster"]).transform("first")
    return rows[rows["cluster"].isna() | (rows["sample"] == first)]


def settled(scores: pd.DataFrame, metrics: Sequence[str], level: float, margin: float = 0.0) -> set[tuple[str, str]]:
    """The (method, metric) cells that are settled: judge them no more.

    `scores`: the `arrivals`; every method has a row from the first round on, as their number sets the level (NaN is
    undefined). `level`: the probability of any wrong decision, over all pairs, metrics and looks, either direction
    (Bonferroni over pairs × metrics). `margin`: two methods are also settled, as equal, once neither is ahead on more
    than that share of the images beyond the other; at 0 none are equal.

    A cell is settled once every pair of it with common images is. One without such a pair is let go when nobody is left
    to compare it with: with the last other cell of its metric; where its metric has none, with the last cell of all.
    A decision stays: pairs of dropped cells get no more images, and the same scores give the same set. Methods of equal
    scores are open at margin 0 and hold up each other, nobody else.
    """
    methods, pairs, signs = _pairs(scores, metrics)
    ahead, _ = decide(signs, level / max(1, signs.shape[1]), margin)
    common = np.isfinite(signs).any(0).reshape(len(metrics), pairs.shape[1])
    member = np.eye(len(methods), dtype=np.bool_)[pairs].any(0)
    compared, held = common @ member, (common & (ahead == "").reshape(common.shape)) @ member
    asked = compared.any(1)
    over = asked & ~held.any(1)
    over |= over.any() and over[asked].all()
    return {(methods[j], metrics[i]) for i, j in np.argwhere((compared & ~held) | over[:, None])}


def separations(scores: pd.DataFrame, better: Mapping[str, str], level: float, margin: float = 0.0) -> pd.DataFrame:
    """One row per metric of `better` ("higher" or "lower") and pair of methods; other arguments as for `settled`.

    `ahead`: "first" or "second", the one that is better on more images, "equal" or "open". `images`: the common images
    that it took to settle, or that there are. `low`, `high`: the interval, simultaneous over all rows and looks, of the
    share of images on which the first is better less the share on which the second is.
    """
    methods, pairs, signs = _pairs(scores, list(better))
    signs *= np.repeat([-1.0 if way == "lower" else 1.0 for way in better.values()], pairs.shape[1])
    alpha = level / max(1, signs.shape[1])
    ahead, images = decide(signs, alpha, margin)
    low, high = intervals(signs, alpha)
    rows = [(metric, methods[i], methods[j]) for metric in better for i, j in pairs.T]
    table = pd.DataFrame(rows, columns=list(SEPARATION_COLUMNS[:3]))
    return table.assign(ahead=np.where(ahead == "", "open", ahead), images=images, low=low, high=high)


def decide(signs: Floats, alpha: float, margin: float = 0.0) -> tuple[NDArray[np.str_], Counts]:
    """Who is ahead in each column of signs (images × columns, NaN is none), and the images that it took or there are.

    "first" or "second" at the first t with K_t(0) ≥ 2/α on its side; "equal" once both sides have had K(−margin) ≥ 2/α;
    else "". With probability at most `alpha` that is ever wrong.
    """
    count = np.isfinite(np.pad(signs, ((0, 1), (0, 0)), constant_values=np.nan)).cumsum(0)
    above, below = (_reached(capital(side * signs), alpha) for side in (1, -1))
    inside = np.full_like(above, len(signs))
    if margin > 0:
        inside = np.maximum(*(_reached(capital(side * signs, -margin), alpha) for side in (1, -1)))
    when = np.minimum(np.minimum(above, below), inside)
    ahead = np.select([when == len(signs), above == when, below == when], ["", "first", "second"], "equal")
    return ahead, np.take_along_axis(count, when[None], 0)[0]


def intervals(signs: Floats, alpha: float) -> tuple[Floats, Floats]:
    """The confidence sequence {m : K_t(m) < 2/α on both sides, for all t so far} of each column's mean, in [−1, 1].

    K_t(m) falls with m for every t, so the lower limit is where the largest of them crosses 2/α: found by bisection.
    """
    both = np.concatenate([signs, -signs], 1)
    out, kept = np.repeat([[-1.0], [1.0]], both.shape[1], axis=1)
    for _ in range(24):
        middle = (out + kept) / 2
        excluded = capital(both, middle).max(0, initial=0) >= 2 / alpha
        out, kept = np.where(excluded, middle, out), np.where(excluded, kept, middle)
    return out[: len(out) // 2], -out[len(out) // 2 :]


def capital(signs: Floats, mean: float | Floats = 0.0) -> Floats:
    """K_t(m) = 1/J Σ_j Π_{s≤t} (1 + λ_j (d_s − m)/(1 + m)), images × columns: large where the mean exceeds m.

    m in (−1, 1]; no bet is made on NaN. If the mean is at most m, K is a nonnegative supermartingale that starts at 1,
    so it ever reaches 1/α with probability at most α.
    """
    gains: Floats = np.nan_to_num((signs - mean) / (1 + np.asarray(mean)), nan=0.0)
    wealth, path = np.ones((len(BETS), gains.shape[1])), np.empty_like(gains)
    with np.errstate(over="ignore"):
        for t, gain in enumerate(gains):
            wealth *= 1 + BETS[:, None] * gain
            path[t] = wealth.mean(0)
    return path


def _reached(path: Floats, alpha: float) -> Counts:
    """The first row in which each column has 2/α, half of α being spent on either side; the number of rows if none."""
    return np.asarray((np.maximum.accumulate(path, 0) < 2 / alpha).sum(0), np.int64)


def _pairs(scores: pd.DataFrame, metrics: Sequence[str]) -> tuple[list[str], Counts, Floats]:
    """The methods, all pairs of their places (2 × pairs), and the signs of first − second: samples × (metric, pair)."""
    methods, samples = pd.Index(scores["method"].unique()), pd.Index(scores["sample"].unique())
    pairs = np.stack(np.triu_indices(len(methods), 1))
    values = np.full((len(samples), len(metrics), len(methods)), np.nan)
    for place, metric in enumerate(metrics):
        found = scores[scores["metric"] == metric]
        rows, columns = samples.get_indexer(pd.Index(found["sample"])), methods.get_indexer(pd.Index(found["method"]))
        values[rows, place, columns] = found["value"].to_numpy(float)
    values[~np.isfinite(values)] = np.nan
    ones, others = values[:, :, pairs[0]], values[:, :, pairs[1]]
    # Maps that are equal in theory differ by rounding in practice, and that must not make a lead.
    tied = np.abs(ones - others) <= TIED * np.maximum(np.abs(ones), np.abs(others))
    signs = np.where(tied, 0.0, np.sign(ones - others))
    return list(methods), pairs, signs.reshape(len(samples), len(metrics) * pairs.shape[1])
