"""Two monotonicities, one feature at a time: does what a map calls relevant matter, and does the score rise with it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.drift import DRIFT, UNKNOWN, drift_of
from camfaith.metrics.precision import in_steps, resolution
from camfaith.metrics.probing.baselines import Baseline
from camfaith.metrics.probing.features import Features, worths
from camfaith.metrics.probing.probes import ImageProbe, Rounds, Subject
from camfaith.metrics.probing.ranks import ranks_of, removed_at
from camfaith.metrics.similarity import spearman
from camfaith.metrics.subsets import SubsetMetric
from camfaith.models.classifier import ScoreKind


def monotonicity_nguyen(maps: Tensor, drops: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """Spearman's correlation, over L features, of |M_i| with e_i = (f(x) − f(x without i))² (Nguyen & Rodríguez
    Martínez 2020), for what a map M gives each feature and drops f(x) − f(x without i) (both B×L). B values in [−1, 1],
    higher is better. NaN where |M| or e does not vary. Drops whose sizes differ by less than `noise` (a number, or B)
    may share a rank.

    >>> monotonicity_nguyen(torch.tensor([[0, -1, 2]]), torch.tensor([[0, 20, -10]]))
    tensor([0.5000], dtype=torch.float64)
    """
    e = in_steps(drops, noise).square()
    return spearman(maps.double().abs()[:, None], e[:, None])


def monotonicity_arya(scores: Tensor, added: Tensor, noise: Tensor | float = 0.0) -> dict[str, Tensor]:
    """Whether a score rises with every feature that enters, the least relevant first (Arya et al. 2019). `scores` are
    those with the first of them, the first two, … and all, `added` the shares that have entered (both B×n); a share
    that stands there twice counts once. Columns of B values, NaN for a single point:

    - `rising`: the share of the steps at which the score falls by no more than `noise` (a number, or B), in [0, 1],
      higher is better (own definition)
    - `monotone`: 1 where it falls at none, else 0; higher is better (the authors' value)

    >>> found = monotonicity_arya(torch.tensor([[0.1, 0.3, 0.2, 0.9]]), torch.tensor([[0.25, 0.5, 0.75, 1.0]]))
    >>> {name: round(float(value), 3) for name, value in found.items()}
    {'rising': 0.667, 'monotone': 0.0}
    """
    least = torch.as_tensor(noise, dtype=torch.float64).reshape(-1, 1)
    steps, moved = added.double().diff(dim=1) > 0, scores.double().diff(dim=1)
    fallen = ((moved < -least) & steps).sum(1).double()
    known = steps.any(1) & ~scores.isnan().any(1)
    rising = torch.where(known, 1 - fallen / steps.sum(1), torch.nan)
    return {"rising": rising, "monotone": torch.where(known, (fallen == 0).double(), torch.nan)}


@dataclass(frozen=True, kw_only=True)
class MonotonicityNguyen(SubsetMetric):
    """Spearman's correlation of the size of a map's worth of single features with the squared change of the class's
    `score` without each; see `SubsetMetric`. In [−1, 1], higher is better (Nguyen & Rodríguez Martínez 2020).

    The authors take the mean change over values drawn for the feature, here it gets one, its `baseline`'s. It cannot
    tell a map from its opposite. Where there are more than `subsets` features, so many are drawn.
    """

    name = "monotonicity-nguyen"
    exempt = {"opposite-map": "it compares sizes: the opposite map has the same"}
    undefined = f"the size of the map's worths, or of what removing features costs, does not vary; {UNKNOWN}"

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        def compare(worth: Tensor, members: Tensor, drops: Tensor, noise: Tensor) -> Tensor:
            return monotonicity_nguyen(worth[:, members.long().argmax(1)], drops, noise)

        return {"correlation": self.compared(compare, case, maps, answers)[:, 0], **self.drift(case, answers)}


@dataclass(frozen=True)
class Entering(ImageProbe):
    """The baseline with the image's least relevant feature, its two least relevant ones, … and all but the last, in at
    most `steps` steps."""

    steps: int
    baseline: Baseline
    features: Features
    reads = "signed"

    def count(self, pixels: int) -> int:
        return min(self.steps, self.features.most(pixels)) - 1

    def rounds(self, subject: Subject) -> Rounds:
        labels = subject.once(self.features)
        (worth,) = worths(subject.read("signed")[None], [labels])
        ranks = ranks_of(-worth, subject.seed)
        entered = removed_at(min(self.steps, len(worth)), len(worth), worth.device)[1:-1]
        order = ranks[labels.flatten()]
        yield len(entered), subject.masked(self.baseline, lambda start, stop: order < entered[start:stop, None])
        return entered.cpu().double() / len(worth)


@dataclass(frozen=True, kw_only=True)
class MonotonicityArya(Metric):
    """Whether the class's `score` rises as features enter, the least relevant first (Arya et al. 2019).

    The image begins as the `baseline`. Its `features` (`"cells"`, `"superpixels"` or `"pixels"`, see `SensitivityN`)
    enter by their worth, the sum of the raw signed map over their pixels, ties in an order drawn from the image's seed;
    where there are more than `steps` of them, several at a step. Columns:

    - `rising`: the share of steps, from the first feature on, at which the score does not fall; in [0, 1], higher is
      better
    - `monotone`: 1 where it falls at none, else 0, which is the authors' value; higher is better
    - `confidence`, `drift`: how far the altered images are from what the network knows (`functional.drift`)

    It cannot tell orders apart where the network adds its features up: each that speaks against the class is then one
    fall, wherever it enters. On photographs `monotone` is almost always 0.
    """

    features: Any = "cells"
    steps: Annotated[int, Ge(2)] = 64
    baseline: Any = "black"
    score: ScoreKind = "probability"
    name = "monotonicity-arya"
    main = "rising"
    better = {"rising": "higher", "monotone": "higher"}
    range = {"rising": (0, 1), "monotone": (0, 1), **DRIFT}
    undefined = f"the image has a single feature; {UNKNOWN}"
    exempt = {
        "direction": "where a network adds its features up, every order of them falls equally often",
        "opposite-map": "where a network adds its features up, every order of them falls equally often",
    }

    @property
    def _entering(self) -> Entering:
        return Entering(self.steps, self.baseline, self.features)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._entering,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        answer = answers[self._entering]
        assert answer.at is not None
        scores = torch.cat([answer.of(self.score), case.whole(self.score)[:, None]], 1)
        added = torch.cat([answer.at, torch.ones(len(case), 1)], 1)
        return {**monotonicity_arya(scores, added, resolution(case, answer, self.score)), **drift_of(answer)}
