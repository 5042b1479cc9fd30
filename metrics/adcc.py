"""Complexity, and the means that weigh it against other properties of a map: ADCC and ARCC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.coherency import Coherency
from camfaith.metrics.masking import AverageDrop
from camfaith.metrics.road import ROAD, Percentiles
from camfaith.models.settings import NotNegative, Seed


def adcc(coherency: Tensor, complexity: Tensor, drop: Tensor) -> Tensor:
    """Average drop, coherency and complexity in one number, the harmonic mean of (ρ + 1)/2, 1 − complexity and 1 − drop
    (Poppi et al. 2021): 3/(1/coherency + 1/(1 − complexity) + 1/(1 − drop)), for B correlations ρ in [−1, 1] and B
    values in [0, 1] of each of the others. B values in [0, 1], higher is better; 0 where a part is 0, NaN where one is.

    >>> adcc(torch.tensor([0.0]), torch.tensor([0.5]), torch.tensor([0.75])).item()
    0.375
    """
    return _harmonic_mean((coherency.double() + 1) / 2, 1 - complexity.double(), 1 - drop.double())


def arcc(coherency: Tensor, complexity: Tensor, road: Tensor) -> Tensor:
    """ROAD, coherency and complexity in one number, the harmonic mean of (ρ + 1)/2, 1 − complexity and ROAD brought to
    [0, 1], min(max(2·ROAD, 0), 1) (Domeniconi et al. 2026), for B correlations ρ in [−1, 1], B complexities in [0, 1]
    and B values of `road` in [−1/2, 1/2]. B values in [0, 1], higher is better; 0 where a part is 0, NaN where one is.

    >>> arcc(torch.tensor([0.0]), torch.tensor([0.5]), torch.tensor([0.125])).item()
    0.375
    """
    return _harmonic_mean((coherency.double() + 1) / 2, 1 - complexity.double(), (2 * road.double()).clamp(0, 1))


def _harmonic_mean(*parts: Tensor) -> Tensor:
    """n/(1/p₁ + … + 1/pₙ) of n tensors of B values, 0 where one is 0 or, by rounding, less."""
    return len(parts) / torch.stack(parts).clamp(min=0).reciprocal().sum(0)


@dataclass(frozen=True, kw_only=True)
class Complexity(Metric):
    """How much of the image a heat map shows (Poppi et al. 2021): the mean of the display map M̂, in [0, 1], lower is
    simpler. Needs no model.

    It describes: a map that is nowhere positive has 0, and is no better than a true one. It is a part of `ADCC`.
    """

    name = "complexity"
    main = "complexity"
    better = {}
    range = {"complexity": (0, 1)}

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return {"complexity": maps.displayed.mean((1, 2))}


@dataclass(frozen=True, kw_only=True)
class ADCC(Metric):
    """Average drop, coherency and complexity in one number, their harmonic mean (Poppi et al. 2021); in [0, 1], higher
    is better. See `adcc`, and `AverageDrop`, `Coherency` and `Complexity`, whose questions it asks.

    None of its parts can tell whether a map is true: a map that ignores the image is coherent, a blurred one loses
    little, a small one is simple. A fixed blob in the middle may score as high as a CAM.
    """

    name = "adcc"
    main = "adcc"
    better = {"adcc": "higher"}
    range = {"adcc": (0, 1)}
    undefined = "a map is constant, or there is no probability to lose"
    needs_probability = True

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return *AverageDrop().probes(layer, pixels), *Coherency().probes(layer, pixels)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        again, masked = (kind().judge(case, maps, answers) for kind in (Coherency, AverageDrop))
        return {"adcc": adcc(again["coherency"], masked["shown"], masked["drop"])}


@dataclass(frozen=True, kw_only=True)
class ARCC(Metric):
    """ROAD, coherency and complexity in one number, their harmonic mean (Domeniconi et al. 2026); in [0, 1], higher is
    better. See `arcc`, and `ROAD`, `Coherency` and `Complexity`, whose questions it asks with equal settings.

    `percentiles`, `noise` and `seed` are those of ROAD; the authors, and pytorch-grad-cam, take the percentiles 20, 40,
    60 and 80. It is 0 for every map that ROAD finds no better than its opposite: these it cannot tell apart.
    """

    percentiles: Percentiles = ROAD.percentiles
    noise: NotNegative = ROAD.noise
    seed: Seed = ROAD.seed
    name = "arcc"
    main = "arcc"
    better = {"arcc": "higher"}
    range = {"arcc": (0, 1)}
    undefined = "a map is constant: it correlates with nothing"
    needs_probability = True

    @property
    def _road(self) -> ROAD:
        return ROAD(percentiles=self.percentiles, noise=self.noise, seed=self.seed)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return *self._road.probes(layer, pixels), *Coherency().probes(layer, pixels)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        again, road, shown = (each.judge(case, maps, answers) for each in (Coherency(), self._road, Complexity()))
        return {"arcc": arcc(again["coherency"], shown["complexity"], road["road"])}
