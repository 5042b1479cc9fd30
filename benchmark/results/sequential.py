"""Which of two methods wins on more images than it loses on, tested after every image, with few wrong leads.

A pair of methods is compared on one metric by signs d_t: 1 where the first is better on image t, −1 where the second
is, 0 where they tie. A gambler bets on d > 0, at odds that are fair if both signs are equally likely. If the first
method is no better, the capital K is on average no more than at the start, whenever anyone looks: K is an e-value. The
bets are spread as in Cover & Ordentlich's universal portfolio ("Universal portfolios with side information", IEEE
Trans. Inf. Theory 42(2), 1996) on a grid (the "hgKelly" of Waudby-Smith & Ramdas, "Estimating means of bounded random
variables by betting", JRSS-B 86(1), 2024): up to 63 images, the mean of both sides' capital is Krichevsky & Trofimov's
for coins ("The performance of universal encoding", IEEE Trans. Inf. Theory 27(2), 1981).

The e-BH procedure, over all pairs and metrics together, decides which leads are declared (Wang & Ramdas, "False
discovery rate control with e-values", JRSS-B 84(3), 2022; while data come in, Xu, Wang & Ramdas, "A unified framework
for bandit multiple testing", NeurIPS 2021): whatever the dependence, at most a share `level` of the declared leads is
wrong on average. A pair that the remaining images will hardly settle is given up (stochastic curtailment: Lan, Simon &
Halperin, "Stochastically curtailed tests in long-term clinical trials", Comm. Statist. C 1(3), 1982): no lead becomes
wrong by this, only some stay open.

The target is the population that the images are drawn from, independently and in random order, not the data set at
hand. The test says nothing about the size of the difference: no test of means in [−1, 1] that is valid for all
distributions can settle a mean difference d before log(1/α)/log(1 + d) images (104 for d = 0.1 and α = 5e-5), so means
are not tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from camfaith.benchmark.results.intervals import Floats
from camfaith.benchmark.results.paired import TIED

Counts = NDArray[np.int64]

BETS: Floats = np.cos(np.pi * (np.arange(16) + 0.5) / 32)
"""The shares λ_j of the capital that are bet: the 16 positive ones of 32 Chebyshev nodes, denser near 1 (all is
bet)."""
_LUCK = 1.28  # standard deviations: a tenth of a normal distribution lies above
SEPARATION_COLUMNS = ("metric", "first", "second", "ahead", "images", "low", "high")


def arrivals(scores: pd.DataFrame, main: Mapping[str, str]) -> pd.DataFrame:
    """The rows of a run's long `scores` that are tested: each metric's `main` column, in order.

    `scores` are those of one model and data set. Only the first sample of each cluster is tested, because its images
    are no independent draws. Rows without a metric, about a method or a sample alone, are left out.
    """
    rows = scores[scores["column"] == scores["metric"].map(dict(main))]
    first = rows["sample"].groupby(rows["cluster"]).transform("first")
    return rows[rows["cluster"].isna() | (rows["sample"] == first)]


def settled(
    scores: pd.DataFrame, metrics: Sequence[str], level: float, margin: float = 0.0, images: int = 0
) -> set[tuple[str, str]]:
    """The (method, metric) cells that are settled, and need no more judging.

    `scores`: the `arrivals`; every method has a row from the first round on, because their number sets the level (NaN
    is undefined). `level`: on average, at most this share of decisions is wrong. `margin`: two methods are also
    settled, as equal, once neither leads the other by more than that share of the images; at 0 none are equal.
    `images`: the most there will be; 0 means no end, and nothing is given up.

    A cell is settled once each of its pairs with common images is decided or given up. A cell without such a pair is
    settled when nothing is left to compare it with: with the last other cell of its metric, or, if its metric has none,
    with the last cell of all. Pairs of settled cells get no more images, so they stay settled.
    """
    methods, pairs, signs = _pairs(scores, metrics)
    ahead, _ = decide(signs, level, margin)
    shape = (len(metrics), pairs.shape[1])
    common: Any = np.isfinite(signs).any(0)
    waiting = common & (ahead == "")
    if images:
        waiting &= ~hopeless(signs, level, margin, images)
    member: Any = np.eye(len(methods), dtype=np.bool_)[pairs].any(0)
    compared, held = common.reshape(shape) @ member, waiting.reshape(shape) @ member
    asked = compared.any(1)
    over = asked & ~held.any(1)
    over |= over.any() and over[asked].all()
    return {(methods[j], metrics[i]) for i, j in np.argwhere((compared & ~held) | over[:, None])}


def separations(scores: pd.DataFrame, better: Mapping[str, str], level: float, margin: float = 0.0) -> pd.DataFrame:
    """One row for each metric of `better` ("higher" or "lower") and pair of methods; other arguments as for `settled`.

    `ahead`: "first" or "second", the one that is better on more images, "equal" or "open". `images`: the common images
    that it took to settle, or all. `low`, `high`: the interval, from those images, of the share of images on which the
    first is better less the share on which the second is. At most a share `level` of the intervals of decided pairs
    misses its value on average (e-BY: Xu, Wang & Ramdas, "Post-selection inference for e-value based confidence
    intervals", Electron. J. Stat. 18(1), 2024).
    """
    methods, pairs, signs = _pairs(scores, list(better))
    signs *= np.repeat([-1.0 if way == "lower" else 1.0 for way in better.values()], pairs.shape[1])
    ahead, images = decide(signs, level, margin)
    used = _tally(np.where(np.isfinite(signs).cumsum(0) <= images, signs, np.nan))
    low, high = intervals(used, level * max(1, (ahead != "").sum()) / max(1, len(ahead)))
    rows = [(metric, methods[i], methods[j]) for metric in better for i, j in pairs.T]
    table = pd.DataFrame(rows, columns=list(SEPARATION_COLUMNS[:3]))
    return table.assign(ahead=np.where(ahead == "", "open", ahead), images=images, low=low, high=high)


def separations_of(scores: pd.DataFrame, info: Mapping[str, Any]) -> pd.DataFrame:
    """The separations of every model × data set of a run, by the level and margin of its suite."""
    suite = info["suite"]
    main = {m["label"]: m["main"] for m in info["metrics"] if m["main"] in m["better"]}
    better = {m["label"]: m["better"][m["main"]] for m in info["metrics"] if m["label"] in main}
    tables = [pd.DataFrame(columns=["model", "dataset", *SEPARATION_COLUMNS])]
    blocks: Any = scores.groupby(["model", "dataset"], sort=False)
    for (model, dataset), found in blocks:
        table = separations(arrivals(found, main), better, suite["level"], suite["margin"])
        tables.append(table.assign(model=model, dataset=dataset)[tables[0].columns])
    kept = [table for table in tables if len(table)]
    return pd.concat(kept, ignore_index=True) if kept else tables[0]


def decide(signs: Floats, level: float, margin: float = 0.0) -> tuple[NDArray[np.str_], Counts]:
    """Who is ahead in each of N columns of signs (images × N, NaN is none), and the images that this took, or all.

    After each image the k columns with the most capital are declared, with the greatest k for which each of them has K
    ≥ 2N/(level·k); a declared column stays declared. K(0) of a side decides for "first" or "second", the smaller
    K(−margin) of both sides for "equal"; else "". In a column at most two of these three are wrong, so at most a share
    `level` of all declared ones is wrong on average.
    """
    count = np.isfinite(signs).cumsum(0)
    images = count[-1].copy() if len(count) else np.zeros(signs.shape[1], np.int64)
    ahead = np.full(signs.shape[1], "", "<U6")
    sides = [capital(signs), capital(-signs)]
    if margin > 0:
        sides.append(np.minimum(capital(signs, -margin), capital(-signs, -margin)))
    columns = signs.shape[1]
    needed = 2 * columns / (level * np.arange(1, columns + 1))  # for 1, 2, ... of them
    for t, held in enumerate(np.stack(sides, 1)):
        most = np.where(ahead == "", held.max(0), np.inf)
        enough = np.flatnonzero(np.sort(most)[::-1] >= needed)
        if len(enough):
            new = (ahead == "") & (most >= needed[enough[-1]])
            ahead[new] = np.array(["first", "second", "equal"])[held.argmax(0)][new]
            images[new] = count[t][new]
    return ahead, images


def hopeless(signs: Floats, level: float, margin: float, images: int) -> NDArray[np.bool_]:
    """The columns of signs that the rest of `images` will hardly settle.

    The rest is assumed to be like the images so far (plus one image of either sign and one tie, by Laplace's rule), but
    with a lead that is 1.28 of its standard deviations more favourable. The capital needed in the end is the least
    possible, 2/level. Simulated, with a look after every 16 of 300 images, it gives up one in six of the leads that
    would have settled if 60 % of the images are for the first, and almost none if 70 % are. It gives equal methods up
    after a fifth of the images, in the median.
    """
    tally = _tally(signs)
    seen, place = tally.sum(0), np.arange(1, len(signs) + 1)[:, None]
    last = np.where(np.isfinite(signs), place, 0).max(0, initial=0)
    left = np.maximum(0, images - last) * np.where(last > 0, seen / np.maximum(last, 1), 1)
    rates = (tally + 1) / (seen + 3)
    trend = rates[0] - rates[2]
    spread = rates[0] + rates[2] - trend**2
    end = tally + left * rates
    decided, lead = end[0] + end[2], end[0] - end[2]
    luck = _LUCK * np.sqrt(left * (1 + left / (seen + 3)) * spread)

    def ending(lead: Floats) -> Floats:
        lead = np.clip(lead, -decided, decided)
        return np.stack([(decided + lead) / 2, end[1], (decided - lead) / 2])

    chances = [worth(ending(lead + luck)), worth(ending(lead - luck)[::-1])]
    if margin > 0:
        even = ending(np.clip(0, lead - luck, lead + luck))
        chances.append(np.minimum(worth(even, -margin), worth(even[::-1], -margin)))
    result: NDArray[np.bool_] = np.max(chances, 0) < 2 / level
    return result


def intervals(tally: Floats, alpha: float) -> tuple[Floats, Floats]:
    """The interval {m : K(m) < 2/α on both sides} of each column's mean, in [−1, 1], from its `tally`.

    K(m) falls with m, so the lower limit is where it crosses 2/α: found by bisection.
    """
    both = np.concatenate([tally, tally[::-1]], 1)
    out, kept = np.repeat([[-1.0], [1.0]], both.shape[1], axis=1)
    for _ in range(24):
        middle = (out + kept) / 2
        excluded = worth(both, middle) >= 2 / alpha
        out, kept = np.where(excluded, middle, out), np.where(excluded, kept, middle)
    return out[: len(out) // 2], -out[len(out) // 2 :]


def capital(signs: Floats, mean: float = 0.0) -> Floats:
    """K_t(m) = 1/J Σ_j Π_{s≤t} (1 + λ_j (d_s − m)/(1 + m)), images × columns: large where the mean exceeds m.

    m in (−1, 1]; no bet is made on NaN. If the mean is at most m, K is a nonnegative supermartingale that starts at 1:
    an e-value after every image.
    """
    gains: Floats = np.nan_to_num((signs - mean) / (1 + mean), nan=0.0)
    wealth, path = np.ones((len(BETS), gains.shape[1])), np.empty_like(gains)
    with np.errstate(over="ignore"):
        for t, gain in enumerate(gains):
            wealth *= 1 + BETS[:, None] * gain
            path[t] = wealth.mean(0)
    return path


def worth(tally: Floats, mean: float | Floats = 0.0) -> Floats:
    """K(m) after images of which `tally` (3 × columns) had d = 1, 0 and −1, in any order."""
    logs = sum(
        images * np.log1p(BETS[:, None] * (d - np.asarray(mean)) / (1 + np.asarray(mean)))
        for d, images in zip((1, 0, -1), tally, strict=True)
    )
    with np.errstate(over="ignore"):
        result: Floats = np.exp(logs).mean(0)
    return result


def _tally(signs: Floats) -> Floats:
    """How many images of each column have d = 1, 0 and −1 (3 × columns)."""
    return np.stack([(signs == d).sum(0) for d in (1, 0, -1)]).astype(np.float64)


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
    # Maps that are equal in theory differ by rounding in practice; that must not make a lead.
    tied = np.abs(ones - others) <= TIED * np.maximum(np.abs(ones), np.abs(others))
    signs = np.where(tied, 0.0, np.sign(ones - others))
    return list(methods), pairs, signs.reshape(len(samples), len(metrics) * pairs.shape[1])
