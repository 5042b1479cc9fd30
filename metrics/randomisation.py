"""Randomisation: whether a map changes when what the network has learned is taken away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Line, Maps, Metric, Probe
from camfaith.metrics.probing.probes import OneImage
from camfaith.metrics.probing.redrawn import Explained, as_meant
from camfaith.metrics.similarity import spearmans
from camfaith.metrics.stability import require_one_grid
from camfaith.models.classifier import Classifier
from camfaith.models.inside.random_weights import weight_layers, weights_drawn
from camfaith.models.settings import Count, Seed

Order = Literal["cascading", "independent"]
EXEMPT = {"direction": "it compares a method's maps with each other, not with a truth"}


def parameter_randomisation(maps: Tensor, others: Tensor) -> dict[str, Tensor]:
    """1/n Σ_i ρ(M, M_i): how alike a network's map M (B×h×w) and those of n networks with random layers, M_1 … M_n
    (B×n×h×w), are by Spearman's ρ (Adebayo et al. 2018). Columns of B values:

    - `spearman`: the mean over the M_i that are not constant, in [−1, 1], lower is better; NaN where none is left, or
      M itself is constant, or an M_i holds NaN
    - `varied`: the share of the M_i that are not constant, in [0, 1], which describes

    >>> maps = torch.tensor([[[1, 2, 3]]])
    >>> found = parameter_randomisation(maps, torch.tensor([[[[1, 2, 3]], [[3, 2, 1]], [[1, 3, 2]], [[7, 7, 7]]]]))
    >>> {name: round(value.item(), 6) for name, value in found.items()}
    {'spearman': 0.166667, 'varied': 0.75}
    """
    rho, each = likeness(maps, others), others.flatten(2)
    varied = each.amax(2) > each.amin(2)
    failed = ~others.isfinite().flatten(1).all(1)
    return {
        "spearman": rho.nanmean(1).masked_fill(failed, torch.nan),
        "varied": varied.double().mean(1).masked_fill(failed, torch.nan),
    }


def likeness(maps: Tensor, others: Tensor) -> Tensor:
    """ρ(M, M_i) (B×n), for maps M (B×h×w) and M_1 … M_n (B×n×h×w); `ValueError` for maps of different sizes."""
    require_one_grid(maps, others)
    return spearmans(torch.cat([maps.double()[None], others.double().transpose(0, 1)]))[0, 1:].T


@dataclass(frozen=True)
class Randomised(OneImage, Explained):
    """The image itself, in a network in which a share of the layers have random weights.

    Of L layers, the last ⌈share·L⌉ are random, or (`"independent"`) only that one of them which comes first.
    """

    share: float
    order: Order
    seed: int

    def within(self, classifier: Classifier) -> AbstractContextManager[object]:
        layers = weight_layers(classifier.network)
        many = max(1, math.ceil(self.share * len(layers) - 1e-9))
        random = layers[-many:] if self.order == "cascading" else layers[-many:][:1]
        return weights_drawn(classifier.network, [name for layer in random for name in layer], self.seed)


@dataclass(frozen=True, kw_only=True)
class OfRandomNetworks(Metric):
    """What a metric is set by that compares the maps of a network with those of `steps` random ones."""

    order: Order = "cascading"
    steps: Count = 8
    seed: Seed = 0
    main = "spearman"
    better = {"spearman": "lower"}
    range = {"spearman": (-1, 1), "varied": (0, 1)}
    undefined = "the map, or that of every random network, is constant"
    exempt = EXEMPT

    @property
    def random(self) -> list[Randomised]:
        return [Randomised(step / self.steps, self.order, self.seed) for step in range(1, self.steps + 1)]

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return self.random

    def compared(self, maps: Maps, answers: Answers) -> tuple[Tensor, Tensor]:
        """The maps of the network (B×h×w), and of the random ones (B×n×h×w)."""
        others = torch.cat([answers[probe].explanations for probe in self.random], 1)
        return as_meant(maps, maps.raw), as_meant(maps, others)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return parameter_randomisation(*self.compared(maps, answers))

    def line(self, case: Case, maps: Maps, answers: Answers) -> Line:
        shares = torch.tensor([probe.share for probe in self.random], dtype=torch.float64)
        return Line(shares, likeness(*self.compared(maps, answers)), "share of random layers", "Spearman's ρ")


@dataclass(frozen=True, kw_only=True)
class ParameterRandomisation(OfRandomNetworks):
    """Whether a method's map changes when the network's weights become random, layer by layer from the last to the
    first (Adebayo et al. 2018).

    A layer is a module that can draw its weights (`reset_parameters`), with the norms behind it; the network's own
    order of its modules counts. `steps` networks are tried: in the i-th of n, the last ⌈i·L/n⌉ of the L layers are
    random (`order = "cascading"`), or only that one of them which comes first (`"independent"`). Each layer draws from
    `seed` and its name. What no module draws, as a class token, stays.

    The maps are those after the method's ReLU, where it has one, on their own grid, of the same class. Columns:

    - `spearman`: Spearman's rank correlation with the map of the trained network, the mean over the random ones, in
      [−1, 1], lower is better. The trained network itself, whose 1 Quantus takes in, does not count
    - `varied`: the share of the random networks whose map is not constant; only these are in the mean

    It cannot tell a faithful map from noise: a map of random numbers that change with the weights is perfect here. All
    images share the random weights of a seed, so their luck is in no interval.
    """

    name = "parameter-randomisation"
