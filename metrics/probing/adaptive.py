"""A curve asked only where it bends, until its area is known well enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from camfaith.metrics.probing.baselines import Baseline
from camfaith.metrics.probing.case import score_of
from camfaith.metrics.probing.probes import Blank, Fill, ImageProbe, Rounds, Subject, along

FINEST = 256
"""No curve is cut into more steps than this."""
_FIRST = 16


@dataclass(frozen=True)
class AdaptiveCurve(ImageProbe):
    """The points between the ends of a curve, as many as its area (trapezoids) needs to be within `tolerance`.

    There are 16 steps at first, and 256 at most: each round halves some. Two neighbouring steps of width w have the
    values y₀, y₁, y₂; their middle moved the area by e = w·|y₁ − (y₀ + y₂)/2| when it was found. The next halving of
    both moves it by less (a quarter of that where the curve is smooth, half where it has a kink), so the sum of e over
    all pairs bounds what is still missing. Each round halves the pairs with the largest e, until the rest add up to no
    more than `tolerance`. The bound does not hold for a feature that the first 16 steps miss.
    """

    kept: Literal["rest", "top"]
    tolerance: float
    baseline: Baseline
    score: str
    reads = "ranks"

    def count(self, pixels: int) -> int:
        return _finest(pixels) - 1

    def rounds(self, subject: Subject) -> Rounds:
        pixels, finest = subject.case.pixels, _finest(subject.case.pixels)
        stride = max(1, finest // _FIRST)
        values = torch.full((finest + 1,), torch.nan, dtype=torch.float64)
        asked = torch.arange(stride, finest, stride)
        everything: list[Tensor] = []
        while len(asked) or not everything:
            everything.append(asked)
            scores = yield len(asked), self._fill(subject, asked, pixels, finest)
            values = values.index_copy(0, asked, score_of(self.score, *scores.T))  # in inference mode, too
            if len(everything) == 1:
                whole = subject.case.whole(self.score)[subject.index].cpu()
                blank = score_of(self.score, *subject.known(Blank(self.baseline)).T)[0]
                values[0], values[-1] = (whole, blank) if self.kept == "rest" else (blank, whole)
            asked = _bends(values, self.tolerance) if not values[asked].isnan().any() else asked[:0]
        return _removed(torch.cat(everything), pixels, finest).to(torch.float64) / pixels

    def _fill(self, subject: Subject, asked: Tensor, pixels: int, finest: int) -> Fill:
        removed = _removed(asked, pixels, finest).to(subject.image.device)
        return along(subject, self.kept, removed, self.baseline)


def _finest(pixels: int) -> int:
    return min(FINEST, 1 << (pixels.bit_length() - 1))


def _removed(points: Tensor, pixels: int, finest: int) -> Tensor:
    return (points * pixels + finest - 1) // finest


def _bends(values: Tensor, tolerance: float) -> Tensor:
    """Where to ask next: the middles of the steps that matter most, or none when the rest is within the tolerance."""
    at = (~values.isnan()).nonzero().flatten()
    x, y = at / (len(values) - 1), values[at]
    width, slope = x.diff(), y.diff() / x.diff()
    bend = (slope.diff().abs() * width[:-1] * width[1:] / (width[:-1] + width[1:])).clamp(max=1e9)
    ends = torch.cat([bend[:1], bend, bend[-1:]])
    missing = width * (ends[:-1] + ends[1:]) / 2
    order = missing.argsort(descending=True)
    rest = missing.sum() - missing[order].cumsum(0)
    needed = 0 if missing.sum() <= tolerance else int((rest > tolerance).sum()) + 1
    middles = (at[:-1] + at[1:])[order[:needed]]
    return middles[at.diff()[order[:needed]] > 1] // 2
