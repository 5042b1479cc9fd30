"""Sensitivity-n and its siblings: does the sum of a map over random pixels correlate with what removing them costs?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, MinLen
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Line, Maps, Metric, Probe
from camfaith.metrics.precision import rounding
from camfaith.metrics.probing.probes import Subsets
from camfaith.metrics.similarity import pearson
from camfaith.models.classifier import ScoreKind
from camfaith.models.settings import Positive, Seed


def faithfulness_correlation(maps: Tensor, subsets: Tensor, drops: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """Pearson's correlation, over subsets S of n pixels each, of Σ_{i∈S} M_i with what the score loses without S (Bhatt
    et al. 2020), for maps M (B×H×W), subsets (s×H×W, bool) and drops f(x) − f(x without S) (B×s). B values in [−1, 1],
    higher is better. NaN where the sums do not vary, or the drops not beyond `noise`, a standard deviation (a number,
    or B). `ValueError` for subsets of different sizes.

    >>> subsets = torch.tensor([[[True, False, False]], [[False, True, False]], [[False, False, True]]])
    >>> faithfulness_correlation(torch.tensor([[[0, 1, 2]]]), subsets, torch.tensor([[0, 20, 10]]))
    tensor([0.5000], dtype=torch.float64)
    """
    M, sizes = maps.double().flatten(1), subsets.flatten(1).sum(1)
    if (sizes != sizes[0]).any():
        raise ValueError(f"subsets must hold equally many pixels, got from {int(sizes.min())} to {int(sizes.max())}")
    # Centred, which changes no correlation, so that the differences between sums are exact.
    return pearson(weighed(M - M.mean(1, keepdim=True), subsets.flatten(1)), drops, noise)


def sensitivity_n(maps: Tensor, subsets: Tensor, drops: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """`faithfulness_correlation` at k sizes n, for maps (B×H×W), subsets (k×s×H×W, bool) and drops (B×k×s): B×k values
    in [−1, 1], higher is better. Sensitivity-n is their mean over the sizes that have one (Ancona et al. 2018).

    >>> one, drops = torch.eye(3, dtype=torch.bool).view(1, 3, 1, 3), torch.tensor([[[0, 1, 2], [5, 4, 3]]])
    >>> sensitivity_n(torch.tensor([[[0, 1, 2]]]), torch.cat([one, ~one]), drops).round(decimals=6)
    tensor([[1., 1.]], dtype=torch.float64)
    """
    every = zip(subsets, drops.unbind(1), strict=True)
    return torch.stack([faithfulness_correlation(maps, some, felt, noise) for some, felt in every], 1)


def weighed(maps: Tensor, weights: Tensor) -> Tensor:
    """Σ_i w_i M_i for maps (B×N) and weights (n×N): B×n, in double precision, which not all weights are in at once."""
    return torch.cat([maps.double() @ part.double().T for part in torch.split(weights, 64)], 1)


@dataclass(frozen=True, kw_only=True)
class SubsetCorrelation(Metric):
    """Whether a map's sum over random pixels tells what the class's `score` loses without them: Pearson's correlation,
    within an image, over random subsets of exactly n pixels that are replaced by the `baseline`. The map is the raw
    signed one, upsampled.

    The subsets, `subsets` of each size, are the same for all images and methods (drawn from `seed`), so they are scored
    once per image, and once for all metrics that want equal ones. Where the map's sums or the drops do not vary beyond
    rounding there is no correlation.
    """

    subsets: int
    baseline: Any = "black"
    score: ScoreKind = "logit"
    seed: Seed = 0
    main = "correlation"
    better = {"correlation": "higher"}
    range = {"correlation": (-1, 1)}
    undefined = "the map's sums over the subsets, or what removing them costs, do not vary"

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
        if self not in maps.found:
            probe = self._subsets(case.pixels)
            drops = case.whole(self.score)[:, None] - answers[probe].of(self.score)
            noise = 2 * rounding(case, answers[probe], self.score).amax(1)
            each = (len(probe.sizes), self.subsets)
            subsets = probe.members(case.pixels).view(*each, *case.size)
            maps.found[self] = sensitivity_n(maps.signed, subsets, drops.view(-1, *each), noise)
        return maps.found[self]


@dataclass(frozen=True, kw_only=True)
class SensitivityN(SubsetCorrelation):
    """The mean correlation over several sizes n of the subsets; see `SubsetCorrelation`. In [−1, 1], higher is better
    (Ancona et al. 2018).

    `sizes` are numbers of pixels or, below 1, shares of them. A size without a correlation is left out of the mean.
    """

    sizes: Annotated[tuple[Positive, ...], MinLen(1)] = (0.01, 0.03, 0.1, 0.25, 0.5, 0.8)
    subsets: Annotated[int, Ge(3)] = 64
    name = "sensitivity-n"

    @property
    def _sizes(self) -> tuple[float, ...]:
        return self.sizes

    def line(self, case: Case, maps: Maps, answers: Answers) -> Line:
        x = torch.tensor(self._subsets(case.pixels).sizes, dtype=torch.float64) / case.pixels
        return Line(x, self.correlations(case, maps, answers), "share of pixels removed", "correlation")

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        unanswered = answers[self._subsets(case.pixels)].of(self.score).isnan().any(1)
        mean = self.correlations(case, maps, answers).nanmean(1)
        return {"correlation": torch.where(unanswered, torch.nan, mean)}


@dataclass(frozen=True, kw_only=True)
class FaithfulnessCorrelation(SubsetCorrelation):
    """The correlation at one size of the subsets; see `SubsetCorrelation`. In [−1, 1], higher is better (Bhatt et al.
    2020).

    `size` is a number of pixels or, below 1, a share of them. This is the value of `SensitivityN` at that size; with
    equal settings the model is asked once for both.
    """

    size: Positive = 0.1
    subsets: Annotated[int, Ge(3)] = 100
    name = "faithfulness-correlation"

    @property
    def _sizes(self) -> tuple[float, ...]:
        return (self.size,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return {"correlation": self.correlations(case, maps, answers)[:, 0]}
