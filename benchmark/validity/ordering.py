"""Whether a metric puts grades in their order: Kendall's τ between a grade and its mean score."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from camfaith.benchmark.results.intervals import FEWEST, Floats
from camfaith.benchmark.results.resampling import RESAMPLES, resamples


class Order(NamedTuple):
    """τ, what it is in resamples of the images, and how many images have a score in every grade."""

    tau: float
    resampled: Floats
    images: int

    def interval(self) -> tuple[float, float]:
        """The 95 % percentile bootstrap interval; where τ itself lies outside, as it may in steps, it reaches there."""
        low, high = np.quantile(self.resampled, [0.025, 0.975])
        return float(min(low, self.tau)), float(max(high, self.tau))


def kendall(means: Floats, rounding: float = 0.0) -> Floats:
    """τ_a of the grades 0, 1, 2, … and mean scores (… × grades), higher is better: the share of pairs in which the
    lower grade has the better score, less that in which it has the worse (Kendall 1938). In [−1, 1]; scores that
    are no further apart than `rounding` are equal, and count for neither.

    >>> kendall(np.array([[3.0, 2, 1], [1, 1, 1], [1, 3, 2]])).round(3).tolist()
    [1.0, 0.0, -0.333]
    """
    better, worse = np.triu_indices(means.shape[-1], 1)
    gap = means[..., better] - means[..., worse]
    found: Floats = (np.sign(gap) * (np.abs(gap) > rounding)).mean(-1)
    return found


def order_of(scores: Floats, seed: int, rounding: float = 0.0) -> Order:
    """Of scores (images × grades), higher is better, over the images that have one in every grade; NaN for less than
    `FEWEST` images."""
    scores = scores[np.isfinite(scores).all(1)]
    if len(scores) < FEWEST:
        return Order(np.nan, np.full(RESAMPLES, np.nan), len(scores))
    means = resamples(len(scores), seed).T @ scores / len(scores)
    return Order(float(kendall(scores.mean(0), rounding)), kendall(means, rounding), len(scores))


def mean_of(orders: list[Order]) -> Order:
    """The mean τ of several, those without one left out, and all their images."""
    held = [order for order in orders if np.isfinite(order.tau)]
    if not held:
        return Order(np.nan, np.full(RESAMPLES, np.nan), 0)
    taus, resampled, images = zip(*held, strict=True)
    return Order(float(np.mean(taus)), np.mean(resampled, axis=0), sum(images))
