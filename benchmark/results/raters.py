"""Whether images agree on the order of methods: each image is a rater, each method what it rates.

Values are methods × images, or the sums of clusters of images; either way may be better. Those that differ by less than
`TIED` of their size share a rank.
"""

from __future__ import annotations

import krippendorff
import numpy as np
from scipy.stats import rankdata

from camfaith.benchmark.results.intervals import Floats
from camfaith.benchmark.results.ranking import tied_levels

HALVES = 200
"""How often images are parted in two."""


def alpha(values: Floats) -> float:
    """Krippendorff's α of the ranks that images give to methods, α = 1 − D_o/D_e, at ordinal level: 1 where all images
    put the methods in one order, 0 where they agree no more than by chance, negative where less (Krippendorff, "Content
    Analysis", 2nd ed., 2004; images as raters: Tomsett et al., "Sanity checks for saliency metrics", AAAI 2020).

    NaN for less than two methods or two images, and where all methods tie on every image.
    """
    ranks = rankdata(tied_levels(values), axis=0)
    if min(ranks.shape) < 2 or (ranks == ranks[0, 0]).all():
        return np.nan
    return float(krippendorff.alpha(reliability_data=ranks.T, level_of_measurement="ordinal"))


def split_half(values: Floats, seed: int = 0) -> float:
    """Whether half of the images order the methods' means as the other half does: Spearman's ρ between the two, mean
    over `HALVES` random partings, in [−1, 1]. It is that of half as many images: no Spearman-Brown correction.

    NaN for less than three methods or two images, and where all methods tie in every half.
    """
    methods, images = values.shape
    if methods < 3 or images < 2:
        return np.nan
    drawn = np.random.default_rng([seed, images]).random((images, HALVES))
    half = (drawn.argsort(0).argsort(0) < images // 2).astype(float)
    one, other = (rankdata(tied_levels(values @ part), axis=0) - (methods + 1) / 2 for part in (half, 1 - half))
    with np.errstate(invalid="ignore"):
        rho = (one * other).sum(0) / np.sqrt((one**2).sum(0) * (other**2).sum(0))
    return float(np.nanmean(rho)) if np.isfinite(rho).any() else np.nan
