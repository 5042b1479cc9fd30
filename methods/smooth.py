"""GradCAM++ with its derivatives averaged over noisy copies of the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from camfaith.methods.base import Calls, Method, TargetLayer
from camfaith.methods.condition import CANCELS, counted, weights_move
from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier
from camfaith.models.settings import Count, NotNegative
from camfaith.models.speed.setup import batch_size

Variant = Literal["paper", "guarded", "torchcam"]
_KEPT = 1024
"""For so many images, those explained last, it is kept how far their weights move."""


class SmoothGradCAMPlusPlus(Method):
    """Σ_k w_k A^k, w_k = Σ_ij α_ij ReLU(D₁) with α = D₂/(2D₂ + ΣA^k·D₃), 0 where the denominator is (Omeiza et al.
    2019).

    D_p is the mean of g^p over `samples` copies of the image with Gaussian noise of deviation `sigma`, drawn from the
    image's seed; A are the activations of the image without noise. `sigma` is in units of the images: 0.15 of the range
    of those in [0, 1]; nothing is clipped. g² and g³ stand for the higher derivatives as in GradCAM++; without noise
    the two methods are equal. (The paper prints D₁ for α's numerator, where GradCAM++, its source, has the second
    derivative.) Where A is signed, or the copies disagree, the denominator may cancel out, and the map is that of one
    channel and of its rounding: `diagnostics` counts such images.

    `variant="guarded"`: α = D₂/(2D₂ + ΣReLU(A^k)·ReLU(D₃)), at most 1/2; without noise it equals GradCAM++'s.

    `variant="torchcam"`: what torchcam 0.5 computes: ReLU(g) and A of the last noisy copy alone, α = D₂/(2D₂ + Σ_ab
    A_ab·D₃_ab + 1e-8) with A without noise.
    """

    name = "smoothgradcam++"
    needs_gradients: ClassVar[bool] = False
    rectified: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        target_layer: TargetLayer = None,
        *,
        samples: Count = 16,
        sigma: NotNegative = 0.15,
        variant: Variant = "paper",
    ) -> None:
        super().__init__(model, target_layer)
        self.samples, self.sigma, self.variant = samples, sigma, variant
        self._moves: dict[tuple[int, int, bytes], float] = {}

    @property
    def exempt(self) -> Mapping[str, str]:  # type: ignore[override]
        return {} if self.variant == "guarded" else CANCELS

    def cost(self, image: Tensor) -> Calls:
        return Calls(forwards=self.samples, backwards=self.samples)

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        together = max(1, batch_size(evidence.images) // self.samples)
        rows = torch.split(torch.arange(len(evidence)), together)
        return torch.cat([self._maps(evidence.select(some.tolist()), classifier) for some in rows])

    def _maps(self, some: Evidence, classifier: Classifier) -> Tensor:
        """The maps of images whose copies go through the network together, or of one image with too many copies for
        that."""
        layer, count = self.named_layer, len(some)
        clean = some.activations[layer]
        powers = torch.zeros(3, *clean.shape, dtype=torch.float64, device=clean.device)  # float32 loses a small g³
        for noise in torch.split(self._noise(some), max(1, batch_size(some.images) // count), 1):
            copies = (some.images[:, None] + noise).flatten(0, 1)
            noisy = classifier.evidence(copies, some.targets.repeat_interleave(noise.shape[1]), [layer])
            g = torch.unflatten(noisy.gradients[layer], 0, (count, -1))
            powers += torch.stack([(g.double() ** p).sum(1) for p in (1, 2, 3)])
        d1, d2, d3 = powers / self.samples
        last = torch.unflatten(noisy.activations[layer], 0, (count, -1))[:, -1]
        if self.variant == "torchcam":
            d1 = g[:, -1]

        self._keep(some, weights_move(self._weights, clean, d1, d2, d3))
        shown = last if self.variant == "torchcam" else clean
        return torch.einsum("bk,bkhw->bhw", self._weights(clean, d1, d2, d3)[:, :, 0, 0].to(clean), shown)

    def _weights(self, a: Tensor, d1: Tensor, d2: Tensor, d3: Tensor) -> Tensor:
        return (self._alpha(a, d2, d3) * d1.clamp(min=0)).sum((2, 3), keepdim=True)

    def _alpha(self, a: Tensor, d2: Tensor, d3: Tensor) -> Tensor:
        if self.variant == "torchcam":
            return d2 / (2 * d2 + (a * d3).sum((2, 3), keepdim=True) + 1e-8)
        if self.variant == "guarded":
            a, d3 = a.clamp(min=0), d3.clamp(min=0)
        below = 2 * d2 + a.sum((2, 3), keepdim=True) * d3
        return torch.where(below == 0, 0, d2 / torch.where(below == 0, 1, below))

    def diagnostics(self, evidence: Evidence) -> dict[str, Tensor]:
        """Per image, as GradCAM++'s, from the derivatives that its map was made of: `weights_move` and `unstable`; NaN
        and 0 for an image that was not explained of late."""
        move = torch.tensor([self._moves.get(key, torch.nan) for key in _keys(evidence)], dtype=torch.float64)
        return counted(move, f"{self.name} at {self.layer}")

    def _keep(self, some: Evidence, moves: Tensor) -> None:
        known = self._moves | dict(zip(_keys(some), moves.tolist(), strict=True))
        self._moves = dict(list(known.items())[-_KEPT:])

    def _noise(self, some: Evidence) -> Tensor:
        """The noise of each copy, drawn from its image's seed: B×samples×3×H×W."""
        drawn = []
        for seed in some.seeds.tolist():
            source = torch.Generator().manual_seed(seed)
            drawn.append(torch.randn(self.samples, *some.images.shape[1:], generator=source))
        return (self.sigma * torch.stack(drawn)).to(some.images)


def _keys(evidence: Evidence) -> list[tuple[int, int, bytes]]:
    """What tells one image's evidence from another's."""
    logits = evidence.logits.detach().cpu().float().numpy()
    each = zip(evidence.seeds.tolist(), evidence.targets.tolist(), logits, strict=True)
    return [(seed, target, row.tobytes()) for seed, target, row in each]
