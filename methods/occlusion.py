"""Captum's occlusion: what the score loses under a black window."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from camfaith.methods.attribution import Attribution, captum
from camfaith.methods.base import Calls, TargetLayer
from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier
from camfaith.models.settings import Count
from camfaith.models.speed.setup import scoring_batch


class Occlusion(Attribution):
    """S_c(x) − S_c(x with a black window), averaged over the windows that cover a pixel (Zeiler and Fergus 2014).

    `window` and `stride` are in pixels; None makes them 1/6 and 1/12 of the image's side, and the stride no larger than
    the window. A larger stride, which would leave pixels out, is refused, and so is a window larger than the image.
    """

    name = "occlusion"

    def __init__(
        self,
        model: nn.Module,
        target_layer: TargetLayer = None,
        *,
        window: Count | None = None,
        stride: Count | None = None,
    ) -> None:
        super().__init__(model, target_layer)
        self.window, self.stride = window, stride

    def _sizes(self, height: int, width: int) -> tuple[int, int]:
        side = min(height, width)
        window = self.window or max(1, side // 6)
        stride = self.stride or max(1, min(side // 12, window))
        if window > side:
            raise ValueError(f"window must be {side} or less in an image of {height}×{width} pixels; got {window}")
        if stride > window:
            raise ValueError(f"stride must be {window} or less, as the window is, to leave out no pixel; got {stride}")
        return window, stride

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        window, stride = self._sizes(*images.shape[-2:])
        explainer = captum().Occlusion(classifier)
        with torch.no_grad():
            found: Tensor = explainer.attribute(
                images.detach(),
                sliding_window_shapes=(images.shape[1], window, window),
                strides=(images.shape[1], stride, stride),
                target=evidence.targets,
                perturbations_per_eval=max(1, scoring_batch(images) // len(images)),
            )
        return found

    def combine(self, attributions: Tensor) -> Tensor:
        """The window covers all colours, and each colour carries the whole difference."""
        return attributions.mean(1)

    def cost(self, image: Tensor) -> Calls:
        window, stride = self._sizes(*image.shape[-2:])
        steps = [math.ceil((side - window) / stride) + 1 for side in image.shape[-2:]]
        return Calls(forwards=1 + steps[0] * steps[1])
