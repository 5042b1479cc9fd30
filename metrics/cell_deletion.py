"""Cell deletion: how the class's score falls as whole cells of the map's own grid leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Line, Maps, Metric, Probe
from camfaith.metrics.curves import auc
from camfaith.metrics.drift import DRIFT, NO_DRIFT, drift_of
from camfaith.metrics.precision import quotient
from camfaith.metrics.probing.baselines import Baseline
from camfaith.metrics.probing.probes import Blank, ImageProbe, Rounds, Subject
from camfaith.models.classifier import ScoreKind
from camfaith.models.settings import Few


@dataclass(frozen=True)
class WithoutCells(ImageProbe):
    """The points between the ends of a curve along which the cells of a map leave, the most relevant first.

    At each step the same number of cells leaves, as few as make no more than `cells` steps.
    """

    cells: int
    baseline: Baseline
    reads = "cells"

    def count(self, pixels: int) -> int:
        return min(self.cells, pixels) - 1

    def removed(self, ranks: Tensor) -> Tensor:
        """How many cells are gone at each point, both ends included, where the map has these `ranks`."""
        total = int(ranks.max()) + 1
        each = -(-total // self.cells)
        return torch.arange(0, total + each, each, device=ranks.device).clamp(max=total)

    def rounds(self, subject: Subject) -> Rounds:
        ranks = subject.read("cells")
        removed = self.removed(ranks)[1:-1, None]
        yield len(removed), subject.masked(self.baseline, lambda start, stop: ranks.flatten() >= removed[start:stop])
        return None


@dataclass(frozen=True, kw_only=True)
class CellDeletion(Metric):
    """Area under the score while whole cells of the map's own grid leave, the most relevant first; lower is better (own
    definition, after Petsiuk et al. 2018).

    Nothing is upsampled: a map of 7×7 cells has a curve of 49 steps, at each of which one cell's part of the image
    becomes the `baseline`. Of a map with more than `cells` cells, several leave at each step: as few as make no more
    than `cells` steps. Columns:

    - `auc`: the area under the `score` over the share of cells gone, in [0, 1] for probabilities
    - `auc_relative`: `auc` divided by the score of the unchanged image
    - `ties`: the share of cells that have the value of another, so that their order was drawn by lot
    - `confidence`, `drift`: how far the altered images are from what the network knows (`functional.drift`)

    It cannot tell apart maps whose cells are in the same order. Maps of different grids have curves of different steps:
    `Deletion` compares these more fairly.
    """

    cells: Few = 64
    baseline: Any = "black"
    score: ScoreKind = "probability"
    name = "cell-deletion"
    main = "auc"
    better = {"auc": "lower", "auc_relative": "lower"}
    range = {"auc": (0, 1), "auc_relative": (0, inf), "ties": (0, 1), **DRIFT}
    undefined = f"auc_relative: the unchanged image has the score 0; {NO_DRIFT}"

    @property
    def _interior(self) -> WithoutCells:
        return WithoutCells(self.cells, self.baseline)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return self._interior, Blank(self.baseline)

    def line(self, case: Case, maps: Maps, answers: Answers) -> Line:
        removed = self._interior.removed(maps.cells).double()
        whole = case.whole(self.score)[:, None]
        inner, blank = (answers[probe].of(self.score) for probe in self.probes(maps.layer, case.pixels))
        return Line(removed / removed[-1], torch.cat([whole, inner, blank], 1), "fraction of cells removed", self.score)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        curve = self.line(case, maps, answers)
        area = auc(curve.y, curve.x)
        columns = {"auc": area, "auc_relative": quotient(area, case.whole(self.score)), "ties": maps.cell_ties}
        return {**columns, **drift_of(answers[self._interior])}
