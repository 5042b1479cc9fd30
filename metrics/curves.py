"""Deletion and insertion: how the class's score falls or rises as pixels leave or enter in the map's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from camfaith.metrics.base import Direction, Line, Metric, ScoreKind, check_score_kind
from camfaith.metrics.baselines import baseline
from camfaith.metrics.case import Case, Maps
from camfaith.metrics.engine import Answers
from camfaith.metrics.probes import Blank, Curve, Probe
from camfaith.metrics.ranks import removed_at, tie_fraction


@dataclass(frozen=True, kw_only=True)
class PixelCurve(Metric):
    """The target's score over the true fraction of pixels changed, both ends included, and the area under it.

    Point i of `steps` has exactly i·N/steps pixels changed, rounded up; the area is by trapezoids. Columns:

    - `auc`: in [0, 1] for probabilities; not divided by anything
    - `auc_relative`: `auc` divided by the score of the unchanged image
    - `ties`: the share of pixels whose place in the order was drawn by lot, because another has the same value
    """

    steps: int = 32
    baseline: Any = "black"
    score: ScoreKind = "probability"
    main: ClassVar[str] = "auc"
    kept: ClassVar[Literal["rest", "top"]]

    def __post_init__(self) -> None:
        check_score_kind(self.score)
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        object.__setattr__(self, "baseline", baseline(self.baseline))

    @property
    def _interior(self) -> Curve:
        return Curve(self.kept, self.steps, self.baseline)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:  # noqa: ARG002
        return self._interior, Blank(self.baseline)

    def line(self, case: Case, maps: Maps, answers: Answers) -> Line:  # noqa: ARG002
        whole = case.whole(self.score).cpu()[:, None]
        blank = answers[Blank(self.baseline)].of(self.score)
        ends = (whole, blank) if self.kept == "rest" else (blank, whole)
        y = torch.cat([ends[0], answers[self._interior].of(self.score), ends[1]], 1)
        x = removed_at(self.steps, case.pixels).to(torch.float64) / case.pixels
        changed = "removed" if self.kept == "rest" else "inserted"
        return Line(x, y, f"fraction of pixels {changed}", self.score)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        line = self.line_of(case, maps, answers)
        auc = torch.trapezoid(line.y, line.x, dim=1)
        whole = case.whole(self.score).cpu()
        relative = torch.where(whole.abs() > 1e-9, auc / whole, torch.nan)
        return {"auc": auc, "auc_relative": relative, "ties": tie_fraction(maps.saliency).cpu()}


@dataclass(frozen=True, kw_only=True)
class Deletion(PixelCurve):
    """Area under the score while the most relevant pixels leave first; lower is better (Petsiuk et al. 2018)."""

    name: ClassVar[str] = "deletion"
    better: ClassVar[Mapping[str, Direction]] = {"auc": "lower", "auc_relative": "lower"}
    kept: ClassVar[Literal["rest", "top"]] = "rest"


@dataclass(frozen=True, kw_only=True)
class Insertion(PixelCurve):
    """Area under the score while the most relevant pixels enter a baseline first; higher is better (Petsiuk et al.
    2018). With the same baseline it is the least-relevant-first deletion curve read backwards."""

    baseline: Any = "blur"
    name: ClassVar[str] = "insertion"
    better: ClassVar[Mapping[str, Direction]] = {"auc": "higher", "auc_relative": "higher"}
    kept: ClassVar[Literal["rest", "top"]] = "top"
