"""True maps made worse, grade by grade."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from camfaith.benchmark.validity.networks import Known
from camfaith.metrics.probing.ranks import lottery
from camfaith.models import Classifier, Evidence

GRADES = 5
"""Grade 0 is the true map."""


def blur(maps: Tensor, grade: int, seeds: Tensor) -> Tensor:  # noqa: ARG001 - as all are called
    """A Gaussian blur of 0, ½, 1, 2 or 4 cells."""
    sigma = (0, 0.5, 1, 2, 4)[grade]
    return torch.from_numpy(gaussian_filter(maps.numpy(), (0, sigma, sigma), mode="nearest"))


def softening(maps: Tensor, grade: int, seeds: Tensor) -> Tensor:
    """None, ¼, ½, ¾ or all of the way to a Gaussian blur of ½ a cell: small blurs."""
    return torch.lerp(maps, blur(maps, 1, seeds), grade / 4)


def shift(maps: Tensor, grade: int, seeds: Tensor) -> Tensor:  # noqa: ARG001 - as all are called
    """Down and to the right by 0 and 0, 0 and 1, 1 and 1, 1 and 2, or 2 and 2 cells; what leaves at an edge enters at
    the other one."""
    return maps.roll((grade // 2, (grade + 1) // 2), (1, 2))


def noise(maps: Tensor, grade: int, seeds: Tensor) -> Tensor:
    """None, ¼, ½, ¾ or all of it the same map with its cells in a random order."""
    drawn = maps.flatten(1).gather(1, lottery(seeds, maps[0].numel()))
    return torch.lerp(maps, drawn.view_as(maps), grade / 4)


def signs(maps: Tensor, grade: int, seeds: Tensor) -> Tensor:
    """The opposite sign for none, ⅛, ¼, ⅜ or half of the cells that are not 0, drawn at random."""
    flipped = maps.flatten(1).clone()
    for one, order in zip(flipped, lottery(seeds, maps[0].numel()), strict=True):
        drawn = order[one[order] != 0]
        one[drawn[: round(len(drawn) * grade / 8)]] *= -1
    return flipped.view_as(maps)


Degradation = Callable[[Tensor, int, Tensor], Tensor]
DEGRADATIONS: dict[str, Degradation] = {each.__name__: each for each in (blur, softening, shift, noise, signs)}


@dataclass(frozen=True)
class Graded:
    """The method that knows the truth of any image, and shows it at one grade of a degradation."""

    known: Known
    degrade: Degradation
    grade: int
    needs_layer: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:  # noqa: ARG002 - as methods are called
        worths = self.known.network.worths(evidence.images, evidence.targets)
        return self.degrade(worths, self.grade, evidence.seeds)

    def maps(self) -> Tensor:
        """Those of the known images."""
        return self.degrade(self.known.truth, self.grade, self.known.seeds)
