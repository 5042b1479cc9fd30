"""Infidelity: does the map say how the score moves when the whole image is perturbed a little?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.precision import quotient, resolution
from camfaith.metrics.probing.baselines import Baseline
from camfaith.metrics.probing.drawing import source
from camfaith.metrics.probing.features import Features, worths
from camfaith.metrics.probing.probes import Fill, ImageProbe, Subject
from camfaith.models.classifier import ScoreKind
from camfaith.models.settings import Positive, Seed


def infidelity(maps: Tensor, perturbations: Tensor, drops: Tensor, noise: Tensor | float = 0.0) -> dict[str, Tensor]:
    """How far a map's forecast of score changes is from these (Yeh et al. 2019), for maps M (B×L, or B×H×W), n
    perturbations I of each image (B×n×L, or B×n×H×W) and the changes Δ = f(x) − f(x − I) (B×n); E is the mean over I.
    Columns of B values:

    - `infidelity_scaled`: E[(β IᵀM − Δ)²], in [0, E[Δ²]], lower is better; NaN where β is
    - `explained`: 1 − E[(β IᵀM − Δ)²]/E[Δ²], in [0, 1], higher is better (own definition); NaN where β is, or √E[Δ²] is
      within `noise` (a number, or B)
    - `scale`: β = E[IᵀM·Δ]/E[(IᵀM)²], of any size, which describes; NaN for a zero map
    - `infidelity`: E[(IᵀM − Δ)²], in [0, ∞), lower is better

    >>> maps, I = torch.tensor([[1, 2], [-1, -2]]), torch.tensor([[1, 0], [0, 1]])  # right, but for a scale
    >>> found = infidelity(maps, I.expand(2, 2, 2), torch.tensor([[2, 4], [2, 4]]))
    >>> {name: value.tolist() for name, value in found.items()}
    {'infidelity_scaled': [0.0, 0.0], 'explained': [1.0, 1.0], 'scale': [2.0, -2.0], 'infidelity': [2.5, 22.5]}
    """
    I, M, drops = perturbations.double().flatten(2), maps.double().flatten(1), drops.double()  # noqa: E741
    told = (I @ M[:, :, None])[..., 0]  # IᵀM
    scale = quotient((told * drops).mean(1), told.square().mean(1), least=0)
    missed, moved = (scale[:, None] * told - drops).square().mean(1), drops.square().mean(1)
    return {
        "infidelity_scaled": missed,
        "explained": (1 - quotient(missed, moved.where(moved.sqrt() > noise, 0), least=0)).clamp(min=0),
        "scale": scale,
        "infidelity": (told - drops).square().mean(1),
    }


@dataclass(frozen=True)
class Perturbed(ImageProbe):
    """x − I for `samples` perturbations I of an image, which have one factor z ~ N(0, σ²) for each of its `features`,
    drawn from the image's seed and from `seed`: I = z (x − b) with a `baseline` b, I = z in all colours without one.

    x − I is not clipped to [0, 1]: a clipped perturbation would not be the one that the map is multiplied with.
    """

    samples: int
    sigma: float
    features: Features
    baseline: Baseline | None
    seed: int = 0

    def count(self, pixels: int) -> int:
        return self.samples

    def factors(self, features: int, seed: int, like: Tensor) -> Tensor:
        """z (samples×features), in the precision and on the device of the images."""
        return (self.sigma * torch.randn(self.samples, features, generator=source(seed, self.seed))).to(like)

    def fill(self, subject: Subject) -> Fill:
        image, labels = subject.image, subject.once(self.features).flatten()
        z = self.factors(int(labels.max()) + 1, subject.seed, image)
        moving = torch.ones_like(image) if self.baseline is None else image - subject.blank(self.baseline)

        def fill(start: int, stop: int, out: Tensor) -> None:
            drawn = z[start:stop].index_select(1, labels).view(-1, 1, *image.shape[1:])
            torch.addcmul(image, drawn, moving, value=-1, out=out)

        return fill


@dataclass(frozen=True, kw_only=True)
class Infidelity(Metric):
    """Mean squared error of the score changes that a map predicts for perturbations of the image (Yeh et al. 2019).

    Each of `samples` perturbations I changes the class's `score`. The map predicts this by the sum of its products with
    the factors z ~ N(0, σ²), one for each of the image's `features` (`"cells"`, `"superpixels"` or `"pixels"`, see
    `SensitivityN`); it is the raw signed one, upsampled. The `perturbation` is

    - `"fade"`: I = z (x − b), every feature goes a little towards the `baseline` b, or away from it. The map that is
      right is the gradient times x − b, what each feature adds
    - `"noise"`: I = z in all colours, every feature is a little brighter or darker. The gradient is right

    All columns are in [0, ∞) but `explained`, in [0, 1], and `scale`:

    - `infidelity_scaled`: the error of the map times `scale`, lower is better. It is what the authors' code computes
    - `explained`: the share of the squared changes that the map times `scale` predicts, higher is better (own
      definition); the rest is what this map, or any map where the network is not linear, does not say
    - `scale`: the factor that fits best. It tells a map from its opposite: both have the same `infidelity_scaled`, but
      scales of opposite sign
    - `infidelity`: the error of the map as it is, lower is better. It measures the map's scale more than anything else:
      compare it only between maps in the units of `"fade"` or `"noise"`

    σ is `sigma`. The default is about as small as single precision allows, since the right map then explains most of
    what a network does: 45 % at 224 px on ImageNet and nearly all at 96 px, where it explains 1 % of noise on single
    pixels with the authors' σ = 0.2 (who perturb towards a noisy black baseline). So it judges by the gradient, and
    cannot tell what larger changes cost: a map that is right about these may explain little. x − I is not clipped.

    Factors are drawn from the image's seed and from `seed`, the same for all methods, so that they are scored once per
    image. A zero map has no scale.
    """

    perturbation: Literal["fade", "noise"] = "fade"
    features: Any = "cells"
    baseline: Any = "black"
    samples: Annotated[int, Ge(2)] = 64
    sigma: Positive = 0.005
    score: ScoreKind = "logit"
    seed: Seed = 0
    name = "infidelity"
    version = 2
    main = "infidelity_scaled"
    better = {"infidelity_scaled": "lower", "explained": "higher", "infidelity": "lower"}
    range = {"infidelity_scaled": (0, inf), "explained": (0, 1), "scale": (-inf, inf), "infidelity": (0, inf)}
    undefined = "the map is zero: no scale fits it; or, for `explained`, the score does not move"
    exempt = {
        "opposite-map": "`scale` tells a map from its opposite, and `infidelity_scaled` does not",
        "scale": "`infidelity` and `scale` are in the map's units",
        "dtype": "single precision knows changes as small as those to 10⁻³ of what is explained",
    }

    @property
    def _perturbed(self) -> Perturbed:
        baseline = self.baseline if self.perturbation == "fade" else None
        return Perturbed(self.samples, self.sigma, self.features, baseline, self.seed)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._perturbed,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        answer = answers[self._perturbed]
        drops = case.whole(self.score)[:, None] - answer.of(self.score)
        noise = resolution(case, answer, self.score)
        found = []
        for row, worth in enumerate(worths(maps.signed, case.once(self.features))):  # one by one: all I are large
            z = self._perturbed.factors(len(worth), int(case.seeds[row]), case.images)
            found.append(infidelity(worth[None], z[None], drops[row : row + 1], noise[row : row + 1]))
        return {column: torch.cat([each[column] for each in found]) for column in found[0]}
