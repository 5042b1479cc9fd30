"""Sensitivity-n and its siblings: does the sum of a map over random pixels correlate with what removing them costs?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, MinLen
from torch import Tensor

from camfaith.metrics.base import Direction, Line, Metric
from camfaith.metrics.probing.answers import Answer, Answers
from camfaith.metrics.probing.case import Case, Maps
from camfaith.metrics.probing.probes import Probe, Subsets
from camfaith.models.classifier import ScoreKind
from camfaith.models.settings import Positive, Seed


@dataclass(frozen=True, kw_only=True)
class SubsetCorrelation(Metric):
    """Pearson correlation, within an image, of Σ_{i∈S} M_i with f(x) − f(x with S := b), over random subsets S of
    exactly n pixels. M is the raw signed map, upsampled, f the class's `score`, and b the `baseline`.

    The subsets are the same for all images and methods (drawn from `seed`), so they are scored once per image, and once
    for all metrics that want equal ones. Where the map's sums or the drops do not vary beyond rounding there is no
    correlation.
    """

    subsets: int
    baseline: Any = "black"
    score: ScoreKind = "logit"
    seed: Seed = 0
    main: ClassVar[str] = "correlation"
    better: ClassVar[Mapping[str, Direction]] = {"correlation": "higher"}
    undefined: ClassVar[str] = "the map's sums over the subsets, or what removing them costs, do not vary"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(n < 1 or float(n).is_integer() for n in self._sizes):
            raise ValueError(f"sizes must be whole numbers of pixels, or shares between 0 and 1, got {self._sizes}")

    @property
    def _sizes(self) -> tuple[float, ...]:
        raise NotImplementedError

    def _subsets(self, pixels: int) -> Subsets:
        counts = [max(1, round(n * pixels)) if n < 1 else int(n) for n in self._sizes]
        if max(counts) >= pixels:
            raise ValueError(f"sizes must stay below the image's {pixels} pixels, got {max(counts)}")
        return Subsets(tuple(dict.fromkeys(counts)), self.subsets, self.baseline, self.seed)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._subsets(pixels),)

    def correlations(self, case: Case, maps: Maps, answers: Answers) -> Tensor:
        """B×sizes, in [−1, 1]; NaN where there is none."""
        probe = self._subsets(case.pixels)
        shape = (len(case), len(probe.sizes), self.subsets)
        drops = case.whole(self.score).cpu()[:, None] - answers[probe].of(self.score)
        sums = _sums(maps.signed.flatten(1), probe.members(case.pixels))
        rounding = _rounding(answers[probe], self.score, case.images.dtype)
        return _pearson(sums.view(shape), drops.view(shape), rounding[:, None])


@dataclass(frozen=True, kw_only=True)
class SensitivityN(SubsetCorrelation):
    """The correlation of Σ_{i∈S} M_i with f(x) − f(x with S := b) at several sizes n of S, and its mean over n; see
    `SubsetCorrelation`. Range [−1, 1], higher is better (Ancona et al. 2018).

    `sizes` are numbers of pixels or, below 1, shares of them. A size without a correlation is left out of the mean.
    """

    sizes: Annotated[tuple[Positive, ...], MinLen(1)] = (0.01, 0.03, 0.1, 0.25, 0.5, 0.8)
    subsets: Annotated[int, Ge(3)] = 64
    name: ClassVar[str] = "sensitivity-n"

    @property
    def _sizes(self) -> tuple[float, ...]:
        return self.sizes

    def line(self, case: Case, maps: Maps, answers: Answers) -> Line:
        x = torch.tensor(self._subsets(case.pixels).sizes, dtype=torch.float64) / case.pixels
        return Line(x, self.correlations(case, maps, answers), "share of pixels removed", "correlation")

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        unanswered = answers[self._subsets(case.pixels)].of(self.score).isnan().any(1)
        mean = self.line_of(case, maps, answers).y.nanmean(1)
        return {"correlation": torch.where(unanswered, torch.nan, mean)}


@dataclass(frozen=True, kw_only=True)
class FaithfulnessCorrelation(SubsetCorrelation):
    """The correlation of Σ_{i∈S} M_i with f(x) − f(x with S := b) at one size of S; see `SubsetCorrelation`. Range
    [−1, 1], higher is better (Bhatt et al. 2020).

    `size` is a number of pixels or, below 1, a share of them. f is the class's logit unless `score` says otherwise.
    This is the value of `SensitivityN` at that size; with equal settings the model is asked once for both.
    """

    size: Positive = 0.1
    subsets: Annotated[int, Ge(3)] = 100
    name: ClassVar[str] = "faithfulness-correlation"

    @property
    def _sizes(self) -> tuple[float, ...]:
        return (self.size,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return {"correlation": self.correlations(case, maps, answers)[:, 0]}


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
