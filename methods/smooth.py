"""GradCAM++ with its derivatives averaged over noisy copies of the image."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from camfaith.methods.base import Calls, Method, check_variant
from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier

BATCH = 16
"""Noisy copies of an image that go through the network together."""

Variant = Literal["paper", "torchcam"]


class SmoothGradCAMPlusPlus(Method):
    """Σ_k w_k A^k, w_k = Σ_ij α_ij ReLU(D₁) with α = D₂/(2D₂ + ΣA^k·D₃), 0 where the denominator is (Omeiza et al.
    2019).

    D_p is the mean of g^p over `samples` copies of the image with Gaussian noise of deviation `sigma`, drawn from the
    image's seed; A are the activations of the image without noise. `sigma` is in units of the images: 0.15 of the range
    of those in [0, 1]; nothing is clipped. g² and g³ stand for the higher derivatives as in GradCAM++, which this is
    without noise. (The paper prints D₁ for α's numerator, where GradCAM++, its source, has the second derivative.)

    `variant="torchcam"`: what torchcam 0.5 computes: ReLU(g) and A of the last noisy copy alone, α = D₂/(2D₂ + Σ_ab
    A_ab·D₃_ab + 1e-8) with A without noise.
    """

    name = "smoothgradcam++"
    needs_layer: ClassVar[bool] = True
    rectified: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        target_layer: str | None = None,
        *,
        samples: int = 16,
        sigma: float = 0.15,
        variant: Variant = "paper",
    ) -> None:
        super().__init__(model, target_layer)
        check_variant(variant, get_args(Variant))
        if samples < 1 or sigma < 0:
            raise ValueError(f"expected samples ≥ 1 and sigma ≥ 0, got {samples} and {sigma}")
        self.samples, self.sigma, self.variant = samples, sigma, variant

    def cost(self, image: Tensor) -> Calls:  # noqa: ARG002
        return Calls(forwards=self.samples, backwards=self.samples)

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        return torch.stack([self._map(evidence.select([row]), classifier) for row in range(len(evidence))])

    def _map(self, one: Evidence, classifier: Classifier) -> Tensor:
        """One image's map, h×w."""
        layer = self.named_layer
        clean = one.activations[layer][0]
        powers = torch.zeros(3, *clean.shape, dtype=torch.float64, device=clean.device)  # g³ of a small g is no float32
        for noise in torch.split(self._noise(one), BATCH):
            noisy = classifier.evidence(one.images + noise, int(one.targets), [layer])
            g = noisy.gradients[layer].double()
            powers += torch.stack([(g**p).sum(0) for p in (1, 2, 3)])
        d1, d2, d3 = powers / self.samples
        if self.variant == "torchcam":
            alpha = d2 / (2 * d2 + (clean * d3).sum((1, 2), keepdim=True) + 1e-8)
            d1, clean = g[-1], noisy.activations[layer][-1]
        else:
            below = 2 * d2 + clean.sum((1, 2), keepdim=True) * d3
            alpha = torch.where(below == 0, 0, d2 / torch.where(below == 0, 1, below))
        weights = (alpha * d1.clamp(min=0)).sum((1, 2)).to(clean)
        return torch.einsum("k,khw->hw", weights, clean)

    def _noise(self, one: Evidence) -> Tensor:
        """Each copy's noise, samples×3×H×W."""
        source = torch.Generator().manual_seed(int(one.seeds))
        shape = (self.samples, *one.images.shape[1:])
        return (self.sigma * torch.randn(shape, generator=source, dtype=torch.float64)).to(one.images)
