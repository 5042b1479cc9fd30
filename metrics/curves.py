"""Deletion and insertion: how the class's score falls or rises as pixels leave or enter in the map's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Line, Maps, Metric, Probe
from camfaith.metrics.drift import DRIFT, NO_DRIFT, drift_of
from camfaith.metrics.precision import quotient
from camfaith.metrics.probing.adaptive import FINEST, AdaptiveCurve
from camfaith.metrics.probing.probes import Blank, Curve
from camfaith.metrics.probing.ranks import removed_at
from camfaith.models.classifier import ScoreKind
from camfaith.models.settings import Count


def auc(scores: Tensor, fractions: Tensor) -> Tensor:
    """The area under the curve of B images' scores, ∫ f ds by trapezoids (B), in [0, 1] for probabilities: it is not
    divided by anything. `scores` are B×n, at the fractions s of the pixels changed, which rise from 0 to 1 (n, or B×n).
    Lower is better where the most relevant pixels leave first, higher where they enter first (Petsiuk et al. 2018).

    >>> auc(torch.tensor([[1.0, 0.4, 0.2]]), torch.tensor([0.0, 0.5, 1.0]))
    tensor([0.5000], dtype=torch.float64)
    """
    return torch.trapezoid(scores.double(), fractions.double(), dim=1)


@dataclass(frozen=True, kw_only=True)
class PixelCurve(Metric):
    """The target's score over the true fraction of pixels changed, both ends included, and the area under it.

    Point i of `steps` has exactly i·N/steps pixels changed to the `baseline` or from it, rounded up. Columns:

    - `auc`: the area under the `score`, in [0, 1] for probabilities
    - `auc_relative`: `auc` divided by the score of the unchanged image
    - `ties`: the share of pixels that have the value of another, so that their order was drawn by lot
    - `points`: how many points the curve has; only with a `tolerance`
    - `confidence`, `drift`: how far the altered images are from what the network knows (`functional.drift`)

    The area depends on the order of the pixels alone, which a small blur of a map hardly changes: on photographs the
    area may not tell it.

    A `tolerance` replaces the fixed `steps`: each curve is asked only where it bends, until its area is known to within
    the tolerance (`AdaptiveCurve` gives the bound).
    """

    steps: Count = 32
    tolerance: Annotated[float, Gt(0), Lt(1)] | None = None
    baseline: Any = "black"
    score: ScoreKind = "probability"
    main = "auc"
    range = {"auc": (0, 1), "auc_relative": (0, inf), "ties": (0, 1), "points": (2, FINEST + 1), **DRIFT}
    undefined = f"auc_relative: the unchanged image has the score 0; {NO_DRIFT}"
    kept: ClassVar[Literal["rest", "top"]]

    @property
    def _interior(self) -> Curve | AdaptiveCurve:
        if self.tolerance is None:
            return Curve(self.kept, self.steps, self.baseline)
        return AdaptiveCurve(self.kept, self.tolerance, self.baseline, self.score)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return self._interior, Blank(self.baseline)

    def _points(self, case: Case, answers: Answers) -> tuple[Tensor, Tensor]:
        """The fractions of pixels changed (n, or B×n where each curve has its own) and the scores there (B×n)."""
        whole = case.whole(self.score)[:, None]
        blank = answers[Blank(self.baseline)].of(self.score)
        first, last = (whole, blank) if self.kept == "rest" else (blank, whole)
        inner = answers[self._interior]
        if inner.at is None:
            x = removed_at(self.steps, case.pixels).to(torch.float64) / case.pixels
            return x, torch.cat([first, inner.of(self.score), last], 1)
        at, order = inner.at.sort(1)
        x = torch.cat([torch.zeros_like(first), at, torch.ones_like(first)], 1)
        return x, torch.cat([first, inner.of(self.score).gather(1, order), last], 1)

    def line(self, case: Case, maps: Maps, answers: Answers) -> Line:
        x, y = self._points(case, answers)
        changed = "removed" if self.kept == "rest" else "inserted"
        if x.ndim == 2:
            common = torch.linspace(0, 1, _SHOWN + 1, dtype=torch.float64)
            x, y = common, _between(x, y, common)
        return Line(x, y, f"fraction of pixels {changed}", self.score)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        x, y = self._points(case, answers)
        area = auc(y, x)
        columns = {"auc": area, "auc_relative": quotient(area, case.whole(self.score)), "ties": maps.ties}
        if x.ndim == 2:
            columns["points"] = 1 + (x[:, 1:] > x[:, :-1]).sum(1)
        return {**columns, **drift_of(answers[self._interior])}


_SHOWN = 64  # steps of a drawn curve whose own points differ from image to image


def _between(x: Tensor, y: Tensor, wanted: Tensor) -> Tensor:
    """B piecewise linear curves (B×n) at common places (m): B×m."""
    at = wanted.expand(len(x), -1).contiguous()
    right = torch.searchsorted(x.contiguous(), at).clamp(1, x.shape[1] - 1)
    (x0, x1), (y0, y1) = ((v.gather(1, right - 1), v.gather(1, right)) for v in (x, y))
    return y0 + (y1 - y0) * ((at - x0) / (x1 - x0).clamp(min=1e-12)).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class Deletion(PixelCurve):
    """Area under the score while the most relevant pixels leave first; lower is better (Petsiuk et al. 2018)."""

    name = "deletion"
    better = {"auc": "lower", "auc_relative": "lower"}
    kept = "rest"


@dataclass(frozen=True, kw_only=True)
class Insertion(PixelCurve):
    """Area under the score while the most relevant pixels enter a baseline first; higher is better (Petsiuk et al.
    2018). With the same baseline it is the least-relevant-first deletion curve read backwards."""

    baseline: Any = "blur"
    name = "insertion"
    better = {"auc": "higher", "auc_relative": "higher"}
    kept = "top"
