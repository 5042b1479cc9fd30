"""Infidelity: does the map say how the score moves when the whole image is perturbed a little?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric, Probe
from camfaith.metrics.precision import quotient
from camfaith.metrics.probing.probes import Fill, ImageProbe, Subject
from camfaith.metrics.subsets import weighed
from camfaith.models.classifier import ScoreKind
from camfaith.models.settings import Positive, Seed


def infidelity(maps: Tensor, perturbations: Tensor, drops: Tensor) -> dict[str, Tensor]:
    """How far a map's forecast of score changes is from these (Yeh et al. 2019), for maps M (B×H×W), n perturbations I
    (n×H×W) and the changes Δ = f(x) − f(x − I) (B×n); E is the mean over I. Columns of B values:

    - `infidelity_scaled`: E[(β IᵀM − Δ)²], in [0, E[Δ²]], lower is better; NaN where β is
    - `scale`: β = E[IᵀM·Δ]/E[(IᵀM)²], of any size, which describes; NaN for a zero map
    - `infidelity`: E[(IᵀM − Δ)²], in [0, ∞), lower is better

    >>> maps, I = torch.tensor([[[1, 2]], [[-1, -2]]]), torch.tensor([[[1, 0]], [[0, 1]]])  # right, but for a scale
    >>> {name: value.tolist() for name, value in infidelity(maps, I, torch.tensor([[2, 4], [2, 4]])).items()}
    {'infidelity_scaled': [0.0, 0.0], 'scale': [2.0, -2.0], 'infidelity': [2.5, 22.5]}
    """
    I, M, drops = perturbations.flatten(1), maps.flatten(1), drops.double()  # noqa: E741
    told = weighed(M, I)  # IᵀM
    scale = quotient((told * drops).mean(1), told.square().mean(1), least=0)
    return {
        "infidelity_scaled": (scale[:, None] * told - drops).square().mean(1),
        "scale": scale,
        "infidelity": (told - drops).square().mean(1),
    }


@dataclass(frozen=True)
class Perturbed(ImageProbe):
    """x − I for `samples` perturbations I ~ N(0, σ²) of each pixel; I is the same in all colours and for all images.

    x − I is not clipped to [0, 1]: a clipped perturbation would not be the I that the map is multiplied with.
    """

    samples: int
    sigma: float
    seed: int = 0

    def count(self, pixels: int) -> int:
        return self.samples

    def perturbations(self, pixels: int, like: Tensor) -> Tensor:
        """I (samples×N), in the precision and on the device of the images."""
        return _drawn(self, pixels, like.dtype, like.device)

    def fill(self, subject: Subject) -> Fill:
        image = subject.image
        perturbations = self.perturbations(subject.case.pixels, image).view(-1, 1, *subject.case.size)

        def fill(start: int, stop: int, out: Tensor) -> None:
            torch.sub(image, perturbations[start:stop], out=out)

        return fill


@lru_cache(maxsize=4)
def _drawn(of: Perturbed, pixels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    source = torch.Generator().manual_seed(of.seed)
    return (of.sigma * torch.randn(of.samples, pixels, generator=source)).to(device, dtype)


@dataclass(frozen=True, kw_only=True)
class Infidelity(Metric):
    """Mean squared error of the score changes that a map predicts for perturbations of the image (Yeh et al. 2019).

    Each of `samples` perturbations I has N(0, σ²) at every pixel (σ is `sigma`), is subtracted from the image, and
    changes its `score`; the map that predicts this, by the sum of its products with I, is the raw signed one,
    upsampled. All columns are in [0, ∞) but `scale`:

    - `infidelity_scaled`: the error of the map times `scale`, lower is better. It is what the authors' code computes
    - `scale`: the factor that fits best. It tells a map from its opposite: both have the same `infidelity_scaled`, but
      scales of opposite sign
    - `infidelity`: the error of the map as it is, lower is better. It measures the map's scale more than anything else:
      compare it only between maps in the units of the score's gradient

    σ is in units of the image, whose range is [0, 1]; x − I is not clipped. The authors perturb towards a noisy black
    baseline instead (I = x − ε), with the σ that is the default here. The perturbations are the same for all images and
    methods (drawn from `seed`), so they are scored once per image. A zero map has no scale.
    """

    samples: Annotated[int, Ge(2)] = 100
    sigma: Positive = 0.2
    score: ScoreKind = "logit"
    seed: Seed = 0
    name = "infidelity"
    main = "infidelity_scaled"
    better = {"infidelity_scaled": "lower", "infidelity": "lower"}
    range = {"infidelity_scaled": (0, inf), "scale": (-inf, inf), "infidelity": (0, inf)}
    undefined = "the map is zero: no scale fits it"
    exempt = {
        "opposite-map": "`scale` tells a map from its opposite, and `infidelity_scaled` does not",
        "scale": "`infidelity` and `scale` are in the map's units",
    }

    @property
    def _perturbed(self) -> Perturbed:
        return Perturbed(self.samples, self.sigma, self.seed)

    def probes(self, layer: str | None, pixels: int) -> Sequence[Probe]:
        return (self._perturbed,)

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        drops = case.whole(self.score)[:, None] - answers[self._perturbed].of(self.score)
        perturbations = self._perturbed.perturbations(case.pixels, case.images)
        return infidelity(maps.signed, perturbations.view(-1, *case.size), drops)
