"""Sensitivity-n and its siblings: does a map's sum over random features tell what removing them costs?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from annotated_types import Ge, MinLen
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Line, Maps, Metric
from camfaith.metrics.drift import DRIFT, UNKNOWN, drift_of
from camfaith.metrics.precision import in_steps, resolution
from camfaith.metrics.probing.features import worths
from camfaith.metrics.probing.subsets import Subsets
from camfaith.metrics.similarity import pearson, spearman
from camfaith.models.classifier import ScoreKind
from camfaith.models.settings import Positive, Seed


def faithfulness_correlation(maps: Tensor, subsets: Tensor, drops: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """Pearson's correlation, over subsets S of n features each, of Σ_{i∈S} M_i with what the score loses without S
    (Bhatt et al. 2020). `maps` are what a map M gives each feature (B×L, or B×H×W for pixels), `subsets` s×L or s×H×W,
    bool, and `drops` f(x) − f(x without S) (B×s). B values in [−1, 1], higher is better. NaN where the sums do not
    vary, or the drops not beyond `noise`, a standard deviation (a number, or B). `ValueError` for subsets of different
    sizes.

    >>> subsets = torch.tensor([[True, False, False], [False, True, False], [False, False, True]])
    >>> faithfulness_correlation(torch.tensor([[0, 1, 2]]), subsets, torch.tensor([[0, 20, 10]]))
    tensor([0.5000], dtype=torch.float64)
    """
    return pearson(_sums(maps, subsets), drops, noise)


def mu_fidelity(maps: Tensor, subsets: Tensor, drops: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """`faithfulness_correlation` by ranks: Spearman's correlation in Pearson's place (Fel et al. 2022). B values in
    [−1, 1], higher is better; NaN where that is. Drops that differ by less than `noise` may share a rank.

    >>> subsets = torch.tensor([[True, False, False], [False, True, False], [False, False, True]])
    >>> mu_fidelity(torch.tensor([[0, 1, 9]]), subsets, torch.tensor([[0, 20, 10]]))
    tensor([0.5000], dtype=torch.float64)
    """
    sums = _sums(maps, subsets)
    told = in_steps(sums, 1e-9 * sums.abs().amax(1))  # what differs by rounding alone
    found = spearman(told[:, None], in_steps(drops, noise)[:, None])
    return torch.where(pearson(sums, drops, noise).isnan(), torch.nan, found)


def sensitivity_n(
    maps: Tensor, subsets: Sequence[Tensor], drops: Sequence[Tensor], noise: Tensor | float = 0.0
) -> Tensor:
    """`faithfulness_correlation` at k sizes n, for maps (B×L), and for each size its subsets (s×L, bool) and drops
    (B×s): B×k values in [−1, 1], higher is better. Sensitivity-n is their mean over the sizes that have one (Ancona et
    al. 2018).

    >>> one, drops = torch.eye(3, dtype=torch.bool), [torch.tensor([[0, 1, 2]]), torch.tensor([[5, 4, 3]])]
    >>> sensitivity_n(torch.tensor([[0, 1, 2]]), [one, ~one], drops).round(decimals=6)
    tensor([[1., 1.]], dtype=torch.float64)
    """
    every = zip(subsets, drops, strict=True)
    return torch.stack([faithfulness_correlation(maps, some, felt, noise) for some, felt in every], 1)


def _sums(maps: Tensor, subsets: Tensor) -> Tensor:
    M, sizes = maps.double().flatten(1), subsets.flatten(1).sum(1)
    if (sizes != sizes[0]).any():
        raise ValueError(f"subsets must hold equally many features, got from {int(sizes.min())} to {int(sizes.max())}")
    # Centred, which changes no correlation, so that the differences between sums are exact.
    M = M - M.mean(1, keepdim=True)
    return torch.cat([M @ some.double().T for some in torch.split(subsets.flatten(1), 64)], 1)  # doubles are large


Compared = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""What worths (B×L), subsets (s×L), drops (B×s) and noise (B) come to: B values."""


@dataclass(frozen=True, kw_only=True)
class SubsetMetric(Metric):
    """What a map's sums over random features tell of what the class's `score` loses without them.

    `features` are what an image is made of: the cells of a grid that is the same for all methods (`"cells"`,
    `{name = "cells", grid = 7}`), `"superpixels"` (`segments = 50`; needs scikit-image) or `"pixels"`, which the papers
    remove. Single pixels cannot tell maps on a coarse grid from shuffled ones: they average out over its cells. Cells
    cannot tell apart maps that differ within a cell. A feature's worth is the sum of the raw signed map, upsampled,
    over its pixels. The features of a subset become the `baseline`.

    Of each size, `subsets` of these are drawn from `seed`, the same for all methods and for all images with equally
    many features; where there are no more of a size (49 single cells), each is removed once. So they are scored once
    per image, and once for all metrics that want equal ones. The columns `confidence` and `drift` say how far the
    altered images are from what the network knows (`functional.drift`).
    """

    features: Any = "cells"
    subsets: Annotated[int, Ge(3)] = 50
    baseline: Any = "black"
    score: ScoreKind = "logit"
    seed: Seed = 0
    main = "correlation"
    better = {"correlation": "higher"}
    range = {"correlation": (-1, 1), **DRIFT}
    undefined = f"the map's sums over the subsets, or what removing them costs, do not vary; {UNKNOWN}"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(n < 1 or float(n).is_integer() for n in self._sizes):
            raise ValueError(f"sizes must be whole numbers of features, or shares between 0 and 1, got {self._sizes}")

    @property
    def _sizes(self) -> tuple[float, ...]:
        """Numbers of features, or shares of them; single features, unless a subclass says otherwise."""
        return (1,)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Subsets]:
        """One for each size."""
        most = self.features.most(pixels)
        counts = [max(1, round(n * most)) if n < 1 else int(n) for n in self._sizes]
        if max(counts) >= most:
            raise ValueError(f"sizes must stay below the image's {most} {self.features.name}, got {max(counts)}")
        return [Subsets(n, self.subsets, self.baseline, self.features, self.seed) for n in dict.fromkeys(counts)]

    def compared(self, compare: Compared, case: Case, maps: Maps, answers: Answers) -> Tensor:
        """B×sizes: what `compare` makes of the worth of an image's features, and of what it loses without subsets."""
        every = worths(maps.signed, case.once(self.features))
        counts = torch.tensor([len(worth) for worth in every])
        asked = self.probes(None, case.pixels)
        found = torch.full((len(case), len(asked)), torch.nan, dtype=torch.float64)
        for place, probe in enumerate(asked):
            drops = case.whole(self.score)[:, None] - answers[probe].of(self.score)
            noise = resolution(case, answers[probe], self.score)
            for count in sorted(set(counts.tolist())):  # images with equally many features have equal subsets
                rows, subsets = (counts == count).nonzero().flatten(), probe.members(case.pixels, count)
                some = torch.stack([every[row] for row in rows])
                found[rows, place] = compare(some, subsets, drops[rows, : len(subsets)], noise[rows])
        return found

    def drift(self, case: Case, answers: Answers) -> dict[str, Tensor]:
        """The columns that say how far the images without subsets are from what the network knows."""
        counts = [int(labels.max()) + 1 for labels in case.once(self.features)]
        told = []
        for probe in self.probes(None, case.pixels):
            answer = answers[probe]
            asked = torch.tensor([[len(probe.members(case.pixels, count))] for count in counts])
            places = torch.arange(answer.logit.shape[1]).minimum(asked - 1)  # an image with fewer repeats its last
            told.append(replace(answer, at=places))
        return drift_of(*told)


@dataclass(frozen=True, kw_only=True)
class SensitivityN(SubsetMetric):
    """The mean over several sizes n of Pearson's correlation, within an image, of a map's sums over n features with
    what removing them costs; see `SubsetMetric`. In [−1, 1], higher is better (Ancona et al. 2018).

    `sizes` are numbers of features or, below 1, shares of them. A size without a correlation is left out of the mean.
    """

    sizes: Annotated[tuple[Positive, ...], MinLen(1)] = (1, 0.1, 0.2, 0.5)
    name = "sensitivity-n"
    version = 2

    @property
    def _sizes(self) -> tuple[float, ...]:
        return self.sizes

    def correlations(self, case: Case, maps: Maps, answers: Answers) -> Tensor:
        """B×sizes, in [−1, 1]; NaN where there is none."""
        if self not in maps.found:
            maps.found[self] = self.compared(faithfulness_correlation, case, maps, answers)
        return maps.found[self]

    def line(self, case: Case, maps: Maps, answers: Answers) -> Line:
        sizes = [probe.size for probe in self.probes(None, case.pixels)]
        x = torch.tensor(sizes, dtype=torch.float64) / self.features.most(case.pixels)
        what = f"share of {self.features.name} removed"
        return Line(x, self.correlations(case, maps, answers), what, "correlation")

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        scores = torch.cat([answers[probe].of(self.score) for probe in self.probes(None, case.pixels)], 1)
        mean = self.correlations(case, maps, answers).nanmean(1)
        correlation = torch.where(scores.isnan().any(1), torch.nan, mean)
        return {"correlation": correlation, **self.drift(case, answers)}


@dataclass(frozen=True, kw_only=True)
class FaithfulnessCorrelation(SubsetMetric):
    """Pearson's correlation of a map's sums with what removing the features costs, at one size of the subsets; see
    `SubsetMetric`. In [−1, 1], higher is better (Bhatt et al. 2020).

    `size` is a number of features or, below 1, a share of them. This is the value of `SensitivityN` at that size.
    """

    size: Positive = 0.1
    name = "faithfulness-correlation"
    version = 2

    @property
    def _sizes(self) -> tuple[float, ...]:
        return (self.size,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        found = self.compared(faithfulness_correlation, case, maps, answers)[:, 0]
        return {"correlation": found, **self.drift(case, answers)}


@dataclass(frozen=True, kw_only=True)
class MuFidelity(SubsetMetric):
    """Spearman's correlation of a map's sums with what removing the features costs, at one size of the subsets; see
    `SubsetMetric`. In [−1, 1], higher is better (Bhatt et al. 2020; by ranks and cells, Fel et al. 2022).

    `size` is a number of features or, below 1, a share of them. It cannot tell by how much one cell matters more than
    another.
    """

    size: Positive = 0.2
    name = "mu-fidelity"

    @property
    def _sizes(self) -> tuple[float, ...]:
        return (self.size,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        found = self.compared(mu_fidelity, case, maps, answers)[:, 0]
        return {"correlation": found, **self.drift(case, answers)}


@dataclass(frozen=True, kw_only=True)
class FaithfulnessEstimate(SubsetMetric):
    """Pearson's correlation of a map's worth of single features with what the class's `score` loses without each; see
    `SubsetMetric`. In [−1, 1], higher is better (Alvarez-Melis & Jaakkola 2018).

    Where there are more than `subsets` features, so many are drawn. It cannot tell what features do together: of two
    that stand in for each other, neither costs anything alone.
    """

    score: ScoreKind = "probability"
    name = "faithfulness-estimate"

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        found = self.compared(faithfulness_correlation, case, maps, answers)[:, 0]
        return {"correlation": found, **self.drift(case, answers)}
