"""The parameter randomisation test, repaired: by the complexity of maps, and by maps without their noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.precision import quotient
from camfaith.metrics.probing.drawing import drawn_for_samples
from camfaith.metrics.probing.redrawn import as_meant, enlarged
from camfaith.metrics.randomisation import EXEMPT, OfRandomNetworks, Randomised
from camfaith.metrics.stability import Nearby, require_one_grid
from camfaith.models.settings import Count, NotNegative, Seed


def efficient_mprt(maps: Tensor, others: Tensor, bins: int = 100) -> dict[str, Tensor]:
    """(H(M̂) − H(M))/H(M): how much more complex a map gets in a network of random weights, for the maps M and M̂ (B×h×w
    each; Hedström et al. 2023). H = −Σ p ln p is the entropy of a map's histogram of `bins` equal bins between its
    least and greatest value. Columns of B values:

    - `rise`: in [−1, ∞), higher is better; NaN where M is constant
    - `complexity`, `complexity_random`: H(M) and H(M̂), in [0, ln bins], which describe

    >>> maps, others = torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[0, 1, 2, 3]]])
    >>> {name: round(value.item(), 4) for name, value in efficient_mprt(maps, others, bins=4).items()}
    {'rise': 1.0, 'complexity': 0.6931, 'complexity_random': 1.3863}
    """
    before, after = (_complexity(each.double().flatten(1), bins) for each in (maps, others))
    return {"rise": quotient(after - before, before), "complexity": before, "complexity_random": after}


def _complexity(values: Tensor, bins: int) -> Tensor:
    """The entropy of each row's histogram (B), NaN where a row holds NaN."""
    least, most = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    share = ((values - least) / (most - least)).nan_to_num(0)  # a constant row is in one bin
    counts = torch.zeros(len(values), bins, dtype=torch.float64, device=values.device)
    places = (share * bins).long().clamp(max=bins - 1)
    counts.scatter_add_(1, places, torch.ones_like(values))
    p = counts / values.shape[1]
    entropy: Tensor = -torch.xlogy(p, p).sum(1)
    return entropy.abs().where(values.isfinite().all(1), torch.nan)


@dataclass(frozen=True, kw_only=True)
class EfficientMPRT(Metric):
    """How much more complex a method's map gets when all weights of the network are random: the efficient parameter
    randomisation test (eMPRT; Hedström et al. 2023).

    The network is that of the last step of `parameter-randomisation`, of the same `seed`. A map's complexity H is the
    entropy of the histogram of its values, at the image's size, after the method's ReLU, where it has one; the
    histogram has `bins` equal bins between the map's least and greatest value. Columns:

    - `rise`: (H(random) − H(trained))/H(trained), in [−1, ∞), higher is better; −1 where the random network's map is
      constant, as one that a ReLU leaves empty
    - `complexity`, `complexity_random`: H of the two maps, in [0, ln `bins`], which describe

    It looks at the values of a map and not at their places: it cannot tell a map from the same one in disorder. A
    coarse map that is enlarged has most of its complexity from the enlarging.
    """

    bins: Count = 100
    seed: Seed = 0
    name = "efficient-mprt"
    main = "rise"
    better = {"rise": "higher"}
    range = {"rise": (-1, inf), "complexity": (0, inf), "complexity_random": (0, inf)}
    undefined = "the map is constant"
    exempt = EXEMPT | {"opposite-map": "a histogram is as complex for a map as for its opposite"}

    @property
    def _all_random(self) -> Randomised:
        return Randomised(1.0, "cascading", self.seed)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._all_random,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        before, random = enlarged(maps, answers[self._all_random].explanations)
        return efficient_mprt(before, random[:, 0], self.bins)


@dataclass(frozen=True)
class Noisy(Nearby):
    """Nearby images, δ Gaussian and drawn from the image's seed and `seed`. Its standard deviation is `noise` times the
    image's range."""

    noise: float
    seed: int

    def moves(self, image: Tensor, of_image: int, samples: range) -> Tensor:
        deviation = self.noise * (image.amax() - image.amin())
        return deviation * drawn_for_samples(torch.randn, image, of_image, self.seed, samples)


@dataclass(frozen=True)
class NoisyRandomised(Noisy, Randomised):
    """Such images, in a network in which a share of the layers have random weights."""


@dataclass(frozen=True, kw_only=True)
class SmoothMPRT(OfRandomNetworks):
    """`parameter-randomisation` of maps without their noise: the smooth parameter randomisation test (sMPRT; Hedström
    et al. 2023).

    Each network's map is the mean of `samples` maps, after the method's ReLU, where it has one: that of the image, and
    those of the image with Gaussian noise, whose standard deviation is `noise` times the image's range; the noise of
    each image is drawn anew, and is the same for all networks. `order`, `steps` and `seed` are as there. Columns:

    - `spearman`: Spearman's rank correlation of the trained and a random network's mean map, the mean over the random
      ones, in [−1, 1], lower is better
    - `varied`: the share of the random networks whose mean map is not constant; only these are in the mean

    The authors take 50 samples and every layer; here few of both keep the cost low. It cannot tell a faithful map from
    noise that changes with the weights.
    """

    steps: Count = 2
    samples: Annotated[int, Ge(2)] = 3
    noise: NotNegative = 0.1
    name = "smooth-mprt"

    @property
    def _noisy(self) -> list[Noisy]:
        """Of the trained network, and of each random one."""
        many, noise, seed = self.samples - 1, self.noise, self.seed
        return [
            Noisy(many, noise, seed),
            *(NoisyRandomised(clean.share, clean.order, seed, many, noise) for clean in self.random),
        ]

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return [*self.random, *self._noisy]

    def compared(self, maps: Maps, answers: Answers) -> tuple[Tensor, Tensor]:
        clean = [maps.raw[:, None], *(answers[probe].explanations for probe in self.random)]
        require_one_grid(*clean[:2])
        noisy = [answers[probe].explanations for probe in self._noisy]
        every = [torch.cat(pair, 1) for pair in zip(clean, noisy, strict=True)]
        means = torch.stack([as_meant(maps, each).mean(1) for each in every], 1)
        return means[:, 0], means[:, 1:]
