"""`quantus`: metrics of quantus 0.6 (Hedström et al. 2023) with their defaults, given images as the network takes them.

Equal to the library for maps of one channel, which it spreads over the colours: a feature is one colour of one pixel.
Its "black" is the least value of the image after normalisation. It sorts by numpy's quicksort, whose order of equal
features is not defined; here they leave in the order of their places, red before green before blue. It returns curves,
whose area its `calculate_auc` computes, steps being 1 wide; that needs a function that numpy 2.4 no longer has.

What is not here, since it says nothing of a map of a colour image, or raises: `SensitivityN` correlates across the
images of a batch, and the fall of all steps so far with the map's sum over the last one alone: it is no sensitivity-n,
and raises for one image; `Monotonicity` adds features by putting the baseline onto itself, so that no image changes and
it is always true; `IROF` and `ROAD` raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Probe
from camfaith.metrics.presets.protocol import Protocol, covered, normalised, places, restored
from camfaith.metrics.probing.probes import Fill, ImageProbe, Subject
from camfaith.metrics.similarity import pearson
from camfaith.models.settings import Count

_COLOURS = 3


def blackened(subject: Subject) -> Tensor:
    """The image with the least value that it has after normalisation everywhere (3×H×W)."""
    taken = normalised(subject.image, subject.case)
    return restored(torch.full_like(taken, float(taken.min())), subject.case)


def replaced(subject: Subject, ranks: Tensor, counts: Tensor) -> Fill:
    """The images of which the features with ranks below a count are black, for each of `counts` (n). `ranks` are
    3×H×W or 1×H×W."""
    return covered(subject, blackened(subject), lambda start, stop: ranks < counts[start:stop].view(-1, 1, 1, 1))


@dataclass(frozen=True)
class FeaturesLeave(ImageProbe):
    """The image as its features become black, most relevant first, `at_once` a step, until all are."""

    at_once: int
    reads = "saliency"

    def count(self, pixels: int) -> int:
        return ceil(_COLOURS * pixels / self.at_once)

    def fill(self, subject: Subject) -> Fill:
        ranks = places(subject.read("saliency").repeat(_COLOURS, 1, 1))
        steps = torch.arange(1, self.count(subject.case.pixels) + 1, device=ranks.device)
        return replaced(subject, ranks, steps * self.at_once)


@dataclass(frozen=True, kw_only=True)
class PixelFlipping(Protocol):
    """`PixelFlipping` and its `calculate_auc`: the area under the class's probability as features become black, the
    most relevant first. Steps are 1 wide and the image itself is not among them: in [0, ∞), at most the number of
    steps − 1, lower is better (Bach et al. 2015).

    `features_in_step` is 1 in the library, 150,528 calls for each map of 224×224 pixels; its tutorials take 224. It
    must divide the number of pixels, or there is a `ValueError`.
    """

    features_in_step: Count = 224
    name = "pixel-flipping"
    main = "auc"
    better = {"auc": "lower"}
    range = {"auc": (0, inf)}
    needs_probability = True

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        if pixels % self.features_in_step:
            raise ValueError(f"features_in_step must divide the {pixels} pixels, got {self.features_in_step}")
        return (FeaturesLeave(self.features_in_step),)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        (asked,) = self.probes(None, case.pixels)
        return {"auc": torch.trapezoid(answers[asked].of("probability"), dim=1)}


@dataclass(frozen=True)
class PatchesLeave(ImageProbe):
    """The image as its patches become black, those with the highest sum of the map first: the first `most`, or all.
    `ValueError` where patches do not fit into the image; the library pads it."""

    side: int
    most: int | None = None
    reads = "saliency"

    def count(self, pixels: int) -> int:
        every = pixels // self.side**2
        return every if self.most is None else min(self.most, every)

    def fill(self, subject: Subject) -> Fill:
        (height, width), side = subject.case.size, self.side
        if height % side or width % side:
            raise ValueError(f"patches of {side}×{side} px do not fit into {height}×{width} px: choose another size")
        sums = subject.read("saliency").view(height // side, side, width // side, side).sum((1, 3))
        ranks = places(sums).repeat_interleave(side, 0).repeat_interleave(side, 1)
        steps = torch.arange(1, self.count(subject.case.pixels) + 1, device=ranks.device)
        return replaced(subject, ranks[None], steps)


@dataclass(frozen=True, kw_only=True)
class RegionPerturbation(Protocol):
    """`RegionPerturbation`: the mean fall f(x) − f(xᵏ) of the class's probability over the first 100 patches of 8×8
    pixels, the most relevant first; the library returns the 100 falls. In [−1, 1], higher is better (Samek et al. 2017,
    who take patches of 9×9, uniform noise, and count k = 0 too)."""

    name = "region-perturbation"
    main = "aopc"
    better = {"aopc": "higher"}
    range = {"aopc": (-1, 1)}
    needs_probability = True

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (PatchesLeave(8, 100),)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        told = answers[PatchesLeave(8, 100)].of("probability")
        return {"aopc": (case.whole("probability")[:, None] - told).mean(1)}


@dataclass(frozen=True, kw_only=True)
class Selectivity(Protocol):
    """`Selectivity` and its `calculate_auc`: the area under the class's probability as all patches of 8×8 pixels become
    black, the most relevant first. Steps are 1 wide and the image itself is not among them: in [0, ∞), at most the
    number of patches − 1, lower is better (Montavon et al. 2018)."""

    name = "selectivity"
    main = "auc"
    better = {"auc": "lower"}
    range = {"auc": (0, inf)}
    needs_probability = True

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (PatchesLeave(8),)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return {"auc": torch.trapezoid(answers[PatchesLeave(8)].of("probability"), dim=1)}


@dataclass(frozen=True)
class RandomFeatures(ImageProbe):
    """The image with `size` random features black, `runs` times; drawn from the image's seed."""

    runs: int
    size: int

    def count(self, pixels: int) -> int:
        return self.runs

    def members(self, case: Case, index: int) -> Tensor:
        """Which features those are (runs×3×H×W, bool)."""
        source = torch.Generator().manual_seed(int(case.seeds[index]))
        shape = case.images.shape[1:]
        drawn = torch.stack([torch.randperm(shape.numel(), generator=source)[: self.size] for _ in range(self.runs)])
        found = torch.zeros(self.runs, shape.numel(), dtype=torch.bool).scatter_(1, drawn, True)
        return found.view(self.runs, *shape)

    def fill(self, subject: Subject) -> Fill:
        members = self.members(subject.case, subject.index).to(subject.image.device)
        return covered(subject, blackened(subject), lambda start, stop: members[start:stop])


@dataclass(frozen=True, kw_only=True)
class FaithfulnessCorrelation(Protocol):
    """`FaithfulnessCorrelation`: Pearson's correlation, over 100 random subsets of 224 features, of the map's sum over
    them with what the class's logit loses when they become black; in [−1, 1], higher is better (Bhatt et al. 2020).

    There are `nr_runs` subsets of `subset_size` features. The library draws them from numpy's global generator, anew
    for each map; here they are the image's, drawn from its seed, and the same for all methods.
    """

    nr_runs: Annotated[int, Ge(3)] = 100
    subset_size: Count = 224
    name = "faithfulness-correlation"
    main = "correlation"
    better = {"correlation": "higher"}
    range = {"correlation": (-1, 1)}
    exempt = {"grey": "a feature is one colour of one pixel"}
    undefined = "the map's sums over the subsets, or what removing them costs, do not vary"

    @property
    def _asked(self) -> RandomFeatures:
        return RandomFeatures(self.nr_runs, self.subset_size)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._asked,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        drops = case.whole("logit")[:, None] - answers[self._asked].of("logit")
        sums = [
            self._asked.members(case, index).sum(1).flatten(1).double() @ worth.double().flatten()
            for index, worth in enumerate(maps.saliency)
        ]
        return {"correlation": pearson(torch.stack(sums), drops)}
