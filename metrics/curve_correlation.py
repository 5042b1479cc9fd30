"""Deletion and insertion correlation: whether each step of a curve changes the score as much as the map says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Line, Maps, Metric, Probe
from camfaith.metrics.curves import Deletion, Insertion, PixelCurve
from camfaith.metrics.drift import DRIFT, NO_DRIFT, drift_of
from camfaith.metrics.precision import rounding
from camfaith.metrics.probing.ranks import removed_at
from camfaith.metrics.similarity import pearson
from camfaith.models.classifier import ScoreKind
from camfaith.models.settings import Count


def step_correlation(maps: Tensor, changes: Tensor, counts: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """Pearson's correlation, over the steps of a curve, of the score's change in a step with the mean of the map over
    the pixels that the step removed or inserted (Gomez et al. 2022). `maps` are B×H×W; `changes` (B×L) are f(xᵏ⁻¹) −
    f(xᵏ) for a deletion, f(xᵏ) − f(xᵏ⁻¹) for an insertion; `counts` (L + 1) are the pixels removed or inserted at x⁰,
    …, x^L, the most relevant first. B values in [−1, 1], higher is better. NaN where the means do not vary, or the
    changes not beyond `noise`, a standard deviation (a number, or B).

    >>> maps, changes = torch.tensor([[[4, 3], [2, 1]]]), torch.tensor([[0.6, 0.1, 0.2, 0.0]])
    >>> step_correlation(maps, changes, torch.arange(5)).round(decimals=4)
    tensor([0.8345], dtype=torch.float64)
    """
    M = maps.double().flatten(1)
    # Centred, which changes no correlation, so that the differences between sums are exact.
    falling = (M - M.mean(1, keepdim=True)).sort(1, descending=True).values
    sums = torch.cat([falling.new_zeros(len(M), 1), falling.cumsum(1)], 1)[:, counts]
    return pearson(sums.diff(dim=1) / counts.diff(), changes, noise)


@dataclass(frozen=True, kw_only=True)
class CurveCorrelation(Metric):
    """Whether the score changes most in those steps of a curve whose pixels matter most by the map: `step_correlation`
    of the map after the method's ReLU, where it has one, at the image's size.

    It asks for the very points of the curve with equal settings, so that the model is asked once for both. The columns
    `confidence` and `drift` say how far the altered images are from what the network knows (`functional.drift`).
    """

    steps: Count = 32
    baseline: Any
    score: ScoreKind = "probability"
    main = "correlation"
    better = {"correlation": "higher"}
    range = {"correlation": (-1, 1), **DRIFT}
    undefined = f"correlation: the map is constant, or the score does not vary along the curve; {NO_DRIFT}"
    of: ClassVar[type[PixelCurve]]

    @property
    def _curve(self) -> PixelCurve:
        return self.of(steps=self.steps, baseline=self.baseline, score=self.score)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return self._curve.probes(layer, pixels)

    def line(self, case: Case, maps: Maps, answers: Answers) -> Line | None:
        return self._curve.line(case, maps, answers)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        curve = self._curve
        rise = curve.line(case, maps, answers).y.diff(dim=1)
        noise = 2 * torch.cat([rounding(case, answers[p], self.score) for p in curve.probes(None, 0)], 1).amax(1)
        counts = removed_at(self.steps, case.pixels)
        changes = -rise if curve.kept == "rest" else rise
        correlation = step_correlation(maps.saliency, changes, counts, noise)
        return {"correlation": correlation, **drift_of(answers[curve.probes(None, 0)[0]])}


@dataclass(frozen=True, kw_only=True)
class DeletionCorrelation(CurveCorrelation):
    """The correlation of what the score loses in each step of `Deletion` with the map's mean over the pixels removed in
    it; in [−1, 1], higher is better (DC; Gomez et al. 2022).

    The authors remove a cell of the map a step; here each of `steps` steps removes the same number of pixels, which
    become the `baseline`. Where the score falls at once and stays low, it cannot tell apart maps whose first pixels are
    far above the rest.
    """

    baseline: Any = "black"
    name = "deletion-correlation"
    of = Deletion


@dataclass(frozen=True, kw_only=True)
class InsertionCorrelation(CurveCorrelation):
    """The correlation of what the score wins in each step of `Insertion` with the map's mean over the pixels inserted
    in it; in [−1, 1], higher is better (IC; Gomez et al. 2022).

    The authors insert a cell of the map a step; here each of `steps` steps inserts the same number of pixels into the
    `baseline`. Where the score rises at once and stays high, it cannot tell apart maps whose first pixels are far above
    the rest.
    """

    baseline: Any = "blur"
    name = "insertion-correlation"
    of = Insertion
