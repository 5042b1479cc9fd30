"""Class activation maps that weigh a layer's channels by the gradient of the class's logit.

A^k are the target layer's activations (K channels, h×w), g = ∂S_c/∂A. Every map is Σ_k w_k A^k: w makes the method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from camfaith.methods.base import Method, TargetLayer
from camfaith.methods.condition import CANCELS, counted, weights_move
from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier
from camfaith.models.settings import NotNegative
from camfaith.models.zones import corners

Variant = Literal["paper", "guarded", "pgc", "torchcam"]
"""Whose formula: the paper's; the same with nothing in its denominator that can cancel out; or what pytorch-grad-cam
1.5 or torchcam 0.5 computes, to attribute numbers published with them."""
Channels = Literal["all", "settled", "positive"]
"""Which channels an XGradCAM map is made of."""


class GradientCAM(Method):
    """Σ_k w_k A^k; a new variant overrides `weights` alone."""

    rectified: ClassVar[bool] = True

    def weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """w: B×K×1×1 for one weight per channel, B×K×h×w for one per cell."""
        raise NotImplementedError(f"{type(self).__name__} must define weights(activations, gradients)")

    def _weighted(self, evidence: Evidence) -> Tensor:
        if self.layer is None:
            raise ValueError(f"{type(self).__name__} needs a target layer: give target_layer, or call it on an image")
        activations = evidence.activations[self.layer]
        if self.needs_gradients and self.layer not in evidence.gradients:
            raise ValueError(f"{type(self).__name__} needs evidence with gradients at {self.layer!r}")
        return self.weights(activations, evidence.gradients.get(self.layer, activations)) * activations

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        return self._weighted(evidence).sum(1)

    def contributions(self, evidence: Evidence) -> Tensor:
        """What each channel adds to the map's sum, Σ_ij w_k A^k_ij (B×K), for the sensitivity axiom."""
        return self._weighted(evidence).sum((2, 3))


class _Dividing(GradientCAM):
    """GradCAM++ and XGradCAM divide their weights by sums of activations, which may cancel out if these are signed."""

    cancels: ClassVar[tuple[str, ...]] = ("paper",)
    """The variants that follow their source in that."""

    def __init__(self, model: nn.Module, target_layer: TargetLayer = None, *, variant: Variant = "paper") -> None:
        super().__init__(model, target_layer)
        self.variant = variant

    @property
    def exempt(self) -> Mapping[str, str]:  # type: ignore[override]
        return CANCELS if self.variant in self.cancels else {}

    def diagnostics(self, evidence: Evidence) -> dict[str, Tensor]:
        """Per image: how far the weights move for a change of the activations by 1e-4 (`weights_move`), and whether
        that is more than 1 % of them (`unstable`)."""
        activations, gradients = evidence.activations[self.named_layer], evidence.gradients[self.named_layer]
        return counted(weights_move(self.weights, activations, gradients), f"{self.name} at {self.layer}")


class GradCAM(GradientCAM):
    """w_k = mean_ij g^k (Selvaraju et al. 2017)."""

    name = "gradcam"

    def weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return gradients.mean((2, 3), keepdim=True)


class GradCAMPlusPlus(_Dividing):
    """w_k = Σ_ij α_ij ReLU(g_ij) with α = g²/(2g² + ΣA^k·g³), 0 where g = 0 (Chattopadhay et al. 2018).

    g² and g³ stand for the second and third derivatives because the paper explains Y = exp(S_c). The quotient is
    computed as α = 1/(2 + ΣA^k·g): the same number, without an absolute ε that would dominate if g is small. Where 2 +
    ΣA^k·g = 0 (possible only for signed activations), α is 0, as where g = 0. Where it is nearly 0, α has no bound, and
    the map is that of one channel and of its rounding: `diagnostics` counts such images.

    `variant="guarded"`: α = 1/(2 + ΣReLU(A^k)·g) where g > 0. That is the paper's α where A ≥ 0, at most 1/2, and moves
    no more than the activations do.

    `variant="pgc"`: α = g²/(2g² + ΣA^k·g³ + 1e-6), which depends on the logits' scale. `variant="torchcam"`: α = g²,
    so w_k = Σ_ij ReLU(g)³, since its division changes a copy.
    """

    name = "gradcam++"
    cancels: ClassVar[tuple[str, ...]] = ("paper", "pgc")

    def weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        if self.variant == "guarded":
            activations, gradients = activations.clamp(min=0), gradients.clamp(min=0)
        alpha = self._alpha(activations.sum((2, 3), keepdim=True), gradients)
        return (alpha * gradients.clamp(min=0)).sum((2, 3), keepdim=True)

    def _alpha(self, total: Tensor, g: Tensor) -> Tensor:
        if self.variant == "torchcam":
            return g**2
        if self.variant == "pgc":
            return torch.where(g != 0, g**2 / (2 * g**2 + total * g**3 + 1e-6), torch.zeros_like(g))
        below = 2 + total * g
        defined = (g != 0) & (below != 0)
        return torch.where(defined, 1 / torch.where(defined, below, torch.ones_like(below)), torch.zeros_like(below))


class XGradCAM(_Dividing):
    """w_k = Σ_ij g·A / Σ_ij A (Fu et al. 2020).

    If activations are signed, ΣA can come near 0, and the weight would grow without bound or change its sign. So |ΣA|
    is at least `eps`·Σ|A|, and keeps its sign. `diagnostics` counts the channels that this changes, and the images
    whose weights are mostly rounding nevertheless.

    `variant="guarded"`: w_k = Σ_ij g·|A| / Σ_ij |A|, the mean of the gradients, weighed by how active a cell is. That
    is the paper's w where a channel has one sign, and lies between the least and the greatest g; `eps` has no say in
    it, and where a channel has both signs the map no longer sums to ΣgA.

    `variant="pgc"` and `"torchcam"` add an absolute 1e-7 and 1e-8 to ΣA instead, whatever its sign and size; `eps` then
    only decides which channels are counted.

    `channels="settled"` leaves out the channels that `eps` would change (|ΣA| < eps·Σ|A|), and `"positive"` those whose
    ΣA is not above 0, so that the map tells what they add. Where no activation is negative, nothing is lost by either.
    """

    name = "xgradcam"
    complete: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        target_layer: TargetLayer = None,
        *,
        eps: NotNegative = 1e-3,
        variant: Variant = "paper",
        channels: Channels = "all",
    ) -> None:
        super().__init__(model, target_layer, variant=variant)
        self.eps = eps
        self.channels = channels

    def weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        weights = self._of_every_channel(activations, gradients)
        if self.channels == "all":
            return weights
        near, total = self._near_zero(activations), activations.sum((2, 3))
        kept = ~near if self.channels == "settled" else total > 0
        return torch.where(kept[..., None, None], weights, torch.zeros_like(weights))

    def _of_every_channel(self, activations: Tensor, gradients: Tensor) -> Tensor:
        if self.variant == "guarded":
            activations = activations.abs()
        total = activations.sum((2, 3), keepdim=True)
        top = (gradients * activations).sum((2, 3), keepdim=True)
        if self.variant in ("pgc", "torchcam"):
            return top / (total + {"pgc": 1e-7, "torchcam": 1e-8}[self.variant])
        floor = self.eps * activations.abs().sum((2, 3), keepdim=True)
        held = torch.where(total < 0, -1.0, 1.0).to(total) * total.abs().maximum(floor)
        silent = held == 0
        return torch.where(silent, torch.zeros_like(top), top / torch.where(silent, torch.ones_like(held), held))

    def _near_zero(self, activations: Tensor) -> Tensor:
        """The channels that `eps` holds (B×K): |ΣA| < eps·Σ|A|."""
        return activations.sum((2, 3)).abs() < self.eps * activations.abs().sum((2, 3))

    def diagnostics(self, evidence: Evidence) -> dict[str, Tensor]:
        """Also, of the channels whose |ΣA| < eps·Σ|A| and of those whose ΣA < 0: their share of all channels
        (`near_zero_channels`, `negative_channels`), the share of Σ_ij Σ_k |w_k A^k| that they carry (`near_zero_mass`,
        `negative_mass`), and the same summed over the four corner cells of a 6×6 grid alone (`near_zero_in_corners`,
        `negative_in_corners`). `small_gradients`: the mean of |g| there, divided by that everywhere; below 1 where
        gradients are smaller in the corners. NaN where nothing is to be divided."""
        activations, gradients = evidence.activations[self.named_layer], evidence.gradients[self.named_layer]
        added = self._weighted(evidence).abs()
        zone = corners(*added.shape[2:]).to(added.device)
        told = {}
        for kind, chosen in (("near_zero", self._near_zero(activations)), ("negative", activations.sum((2, 3)) < 0)):
            told[f"{kind}_channels"] = chosen.to(added.dtype).mean(1)
            for where, mass in (("mass", added.sum((2, 3))), ("in_corners", added[..., zone].sum(2))):
                told[f"{kind}_{where}"] = (mass * chosen).sum(1) / mass.sum(1)
        size = gradients.abs()
        told["small_gradients"] = size[..., zone].mean((1, 2)) / size.mean((1, 2, 3))
        return told | super().diagnostics(evidence)


class HiResCAM(GradientCAM):
    """w = g: Σ_k g^k ⊙ A^k, signed (Draelos and Carin 2020)."""

    name = "hirescam"
    complete: ClassVar[bool] = True
    rectified: ClassVar[bool] = False

    def weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return gradients


class LayerCAM(GradientCAM):
    """w = ReLU(g): Σ_k ReLU(g^k) ⊙ A^k (Jiang et al. 2021)."""

    name = "layercam"

    def weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return gradients.clamp(min=0)


class ElementWiseCAM(GradientCAM):
    """w = g where g ⊙ A > 0 and 0 elsewhere: Σ_k ReLU(g^k ⊙ A^k), never negative (pytorch-grad-cam; no paper)."""

    name = "elementwise"

    def weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return torch.where(gradients * activations > 0, gradients, torch.zeros_like(gradients))
