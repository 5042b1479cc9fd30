"""Region perturbation and selectivity: how the class's score falls as square patches of the image leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Line, Maps, Metric, Probe
from camfaith.metrics.curves import auc
from camfaith.metrics.drift import DRIFT, NO_DRIFT, drift_of
from camfaith.metrics.morf import aopc
from camfaith.metrics.probing.case import PerImage
from camfaith.metrics.probing.segments import WithoutSegments
from camfaith.models.classifier import ScoreKind
from camfaith.models.settings import Count, Few


@dataclass(frozen=True)
class Patches(PerImage):
    """The number of each pixel's patch (H×W): squares of `side` pixels from the upper left, cut off at the edges."""

    side: int

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        rows, columns = (torch.arange(n, device=image.device) // self.side for n in image.shape[-2:])
        return rows[:, None] * (columns[-1] + 1) + columns


@dataclass(frozen=True, kw_only=True)
class PatchCurve(Metric):
    """A number from f(x⁰), …, f(x^L): the score as square patches leave, those with the highest mean of the map first.

    The image is cut into patches of `side`×`side` pixels, from its upper left corner; those at the right and lower edge
    may be smaller. The first `patches` of them leave (None: all), in no more than L = `steps` steps, and become the
    `baseline`. Patches with equal means leave in an order drawn from the image's seed. With equal settings the model is
    asked once for all metrics of these points. The columns `confidence` and `drift` say how far the altered images are
    from what the network knows (`functional.drift`).
    """

    side: Count = 9
    steps: Few
    patches: Few | None
    baseline: Any
    score: ScoreKind = "probability"
    undefined = NO_DRIFT

    @property
    def _without(self) -> WithoutSegments:
        return WithoutSegments(Patches(self.side), self.steps, self.baseline, self.patches)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._without,)

    def line(self, case: Case, maps: Maps, answers: Answers) -> Line:
        answer = answers[self._without]
        assert answer.at is not None
        x = torch.cat([torch.zeros(1), answer.at[0]])  # images of one size have equally many patches
        y = torch.cat([case.whole(self.score)[:, None], answer.of(self.score)], 1)
        return Line(x, y, "fraction of patches removed", self.score)


@dataclass(frozen=True, kw_only=True)
class RegionPerturbation(PatchCurve):
    """The area over the most-relevant-first perturbation curve of patches (AOPC; Samek et al. 2017): the mean fall
    f(x⁰) − f(xᵏ) over k = 0 … L; at most f(x⁰), higher is better. See `PatchCurve` for xᵏ.

    The authors replace the first 100 patches of 9×9 pixels by uniform noise, one a step, which are 15 % of an image of
    227 px; here it is the first 50. Noise is drawn once for each image, from its seed. It cannot tell what a map says
    of the other patches. Scattered patches spoil more of an image than as many that lie together, so that a random
    order of patches may beat every smooth map: read it beside the controls.
    """

    steps: Few = 50
    patches: Few | None = 50
    baseline: Any = "noise"
    name = "region-perturbation"
    main = "aopc"
    better = {"aopc": "higher"}
    range = {"aopc": (-1, 1), **DRIFT}

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return {"aopc": aopc(self.line(case, maps, answers).y), **drift_of(answers[self._without])}


@dataclass(frozen=True, kw_only=True)
class Selectivity(PatchCurve):
    """The area under the score while the patches of the image leave, the most relevant first, until none is left; in
    [0, 1] for probabilities, lower is better (Montavon et al. 2018). See `PatchCurve` for the points.

    The area is over the share of the patches that are gone. The authors take out one feature a step, and record the
    function's value after each; here several patches leave in each of `steps` steps. It cannot tell apart maps that
    order the patches alike.
    """

    steps: Few = 32
    patches: Few | None = None
    baseline: Any = "black"
    name = "selectivity"
    main = "auc"
    better = {"auc": "lower"}
    range = {"auc": (0, 1), **DRIFT}

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        curve = self.line(case, maps, answers)
        return {"auc": auc(curve.y, curve.x), **drift_of(answers[self._without])}
