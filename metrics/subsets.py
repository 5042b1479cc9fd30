"""Sensitivity-n: does the sum of a map over random pixels go with what removing them costs?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from camfaith.metrics.base import Direction, Line, Metric, ScoreKind, check_score_kind
from camfaith.metrics.baselines import baseline
from camfaith.metrics.case import Case, Maps
from camfaith.metrics.engine import Answer, Answers
from camfaith.metrics.probes import Probe, Subsets


@dataclass(frozen=True, kw_only=True)
class SensitivityN(Metric):
    """Pearson correlation, within an image, of Σ_{i∈S} M_i with f(x) − f(x with S := b), over random subsets S of
    exactly n pixels; then the mean over n. Range [−1, 1], higher is better (Ancona et al. 2018).

    M is the raw signed map, upsampled. `sizes` are numbers of pixels or, below 1, shares of them. The subsets are the
    same for all images and methods (drawn from `seed`), so they are scored once per image. A size where the map's sums
    or the drops do not vary beyond rounding has no correlation and is left out of the mean.
    """

    sizes: tuple[float, ...] = (0.01, 0.03, 0.1, 0.25, 0.5, 0.8)
    subsets: int = 64
    baseline: Any = "black"
    score: ScoreKind = "logit"
    seed: int = 0
    name: ClassVar[str] = "sensitivity-n"
    main: ClassVar[str] = "correlation"
    better: ClassVar[Mapping[str, Direction]] = {"correlation": "higher"}
    undefined: ClassVar[str] = "the map's sums over the subsets, or what removing them costs, do not vary"

    def __post_init__(self) -> None:
        check_score_kind(self.score)
        object.__setattr__(self, "baseline", baseline(self.baseline))
        object.__setattr__(self, "sizes", tuple(self.sizes))
        if not self.sizes or not all(0 < n < 1 or (n >= 1 and float(n).is_integer()) for n in self.sizes):
            raise ValueError(f"sizes must be whole numbers of pixels, or shares between 0 and 1, got {self.sizes}")
        if self.subsets < 3:
            raise ValueError(f"a correlation needs at least 3 subsets, got {self.subsets}")

    def _subsets(self, pixels: int) -> Subsets:
        counts = [max(1, round(n * pixels)) if n < 1 else int(n) for n in self.sizes]
        if max(counts) >= pixels:
            raise ValueError(f"sizes must stay below the image's {pixels} pixels, got {max(counts)}")
        return Subsets(tuple(dict.fromkeys(counts)), self.subsets, self.baseline, self.seed)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:  # noqa: ARG002
        return (self._subsets(pixels),)

    def line(self, case: Case, maps: Maps, answers: Answers) -> Line:
        probe = self._subsets(case.pixels)
        shape = (len(case), len(probe.sizes), self.subsets)
        drops = case.whole(self.score).cpu()[:, None] - answers[probe].of(self.score)
        sums = _sums(maps.signed.flatten(1), probe.members(case.pixels))
        rounding = _rounding(answers[probe], self.score, case.images.dtype)
        y = _pearson(sums.view(shape), drops.view(shape), rounding[:, None])
        x = torch.tensor(probe.sizes, dtype=torch.float64) / case.pixels
        return Line(x, y, "share of pixels removed", "correlation")

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        unanswered = answers[self._subsets(case.pixels)].of(self.score).isnan().any(1)
        mean = self.line_of(case, maps, answers).y.nanmean(1)
        return {"correlation": torch.where(unanswered, torch.nan, mean)}


def _sums(maps: Tensor, members: Tensor) -> Tensor:
    """Σ_{i∈S} M_i, B×subsets, in float64; centring first keeps the small differences between subsets exact."""
    centred = maps.to(torch.float64) - maps.to(torch.float64).mean(1, keepdim=True)
    return torch.cat([part.to(centred) @ centred.T for part in torch.split(members, 64)]).T.cpu()


def _rounding(answer: Answer, score: str, precision: torch.dtype) -> Tensor:
    """How far the network's precision alone moves each image's score, as a standard deviation (B)."""
    moved = 2 * torch.finfo(precision).eps * answer.logit.abs().amax(1)
    if score == "probability":
        probability = answer.of(score)
        moved = moved * (probability * (1 - probability)).amax(1)
    return moved


def _pearson(a: Tensor, b: Tensor, rounding: Tensor) -> Tensor:
    """Correlation over the last axis; NaN where either does not vary beyond rounding, which for b is a given σ."""
    scale_a, scale_b = a.abs().amax(-1), b.abs().amax(-1)
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    size_a, size_b = a.norm(dim=-1), b.norm(dim=-1)
    flat = (size_a <= 1e-9 * scale_a) | (size_b <= 1e-9 * scale_b) | (size_b <= rounding * b.shape[-1] ** 0.5)
    return torch.where(flat, torch.nan, (a * b).sum(-1) / (size_a * size_b).clamp(min=torch.finfo(a.dtype).tiny))
