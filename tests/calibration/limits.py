"""How often intervals of 95 % cover the true mean: ours, Student's and those of the BCa bootstrap."""

from __future__ import annotations

import numpy as np
from draws import Floats, drawn, portions
from scipy.special import ndtr, ndtri, stdtrit

from camfaith.benchmark.results.intervals import mean_interval

RESAMPLES = 1000


def coverage(name: str, n: int, rows: int, seed: int) -> dict[str, float]:
    """The share of rows without an interval, of those with one that it covers 0, of all that one is shown and misses;
    and the share that Student's and BCa's intervals cover, which take every sample for itself."""
    rng = np.random.default_rng(seed)
    shown, covered, students, bcas = [], [], [], []
    for count in portions(rows):
        values, units = drawn(name, rng, count, n)
        found = mean_interval(values, units)
        shown.append(np.isfinite(found.low))
        covered.append(_covers(found.low, found.high))
        students.append(_covers(*student(values)))
        bcas.append(_covers(*bca(values, rng)))
    has, covers, t, boot = (np.concatenate(each) for each in (shown, covered, students, bcas))
    return {
        "refused": float(1 - has.mean()),
        "covered": float(covers[has].mean()) if has.any() else np.nan,
        "shown": int(has.sum()),
        "missed": float((has & ~covers).mean()),
        "student": float(t.mean()),
        "bca": float(boot.mean()),
    }


def _covers(low: Floats, high: Floats) -> np.ndarray:
    return (low <= 1e-12) & (high >= -1e-12)


def student(values: Floats) -> tuple[Floats, Floats]:
    n = values.shape[1]
    half = stdtrit(n - 1, 0.975) * values.std(1, ddof=1) / np.sqrt(n)
    return values.mean(1) - half, values.mean(1) + half


def bca(values: Floats, rng: np.random.Generator, resamples: int = RESAMPLES) -> tuple[Floats, Floats]:
    """`scipy.stats.bootstrap(method="BCa")` of the mean, with the same resamples for all rows."""
    n, mean = values.shape[1], values.mean(1, keepdims=True)
    deviations = values - mean
    means = deviations @ (rng.multinomial(n, [1 / n] * n, resamples).T / n)
    lower = ((means < -1e-12).mean(1) + (means <= 1e-12).mean(1)) / 2
    with np.errstate(all="ignore"):
        bias = ndtri(lower)
        pull = (deviations**3).sum(1) / (6 * (deviations**2).sum(1) ** 1.5)
        places = [ndtr(bias + (bias + z) / (1 - pull * (bias + z))) for z in ndtri([0.025, 0.975])]
    means.sort(1)
    low, high = (np.take_along_axis(means, _place(p, resamples), 1)[:, 0] for p in places)
    return mean[:, 0] + low, mean[:, 0] + high


def _place(share: Floats, resamples: int) -> np.ndarray:
    return np.rint(np.nan_to_num(share, nan=0.5) * (resamples - 1)).astype(int)[:, None]
