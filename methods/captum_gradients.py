"""Captum's attributions by the plain gradient: of the input, along a line to a baseline, and at a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from camfaith.methods.attribution import TOGETHER, Attribution, captum, drawing, noise_baselines
from camfaith.methods.base import Calls, TargetLayer
from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.naming import find_module
from camfaith.models.settings import Count, Few


class Saliency(Attribution):
    """max over colours of |∂S_c/∂x| (Simonyan et al. 2013)."""

    name = "saliency"
    unsigned: ClassVar[bool] = True

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        found: Tensor = captum().Saliency(classifier).attribute(images, evidence.targets, abs=True)
        return found

    def combine(self, attributions: Tensor) -> Tensor:
        return attributions.amax(1)


class InputXGradient(Attribution):
    """x ⊙ ∂S_c/∂x, summed over colours (Shrikumar et al. 2016)."""

    name = "input-x-gradient"
    complete: ClassVar[bool] = True

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        found: Tensor = captum().InputXGradient(classifier).attribute(images, evidence.targets)
        return found


class IntegratedGradients(Attribution):
    """(x − b) ⊙ ∫ ∂S_c/∂x along the line from black b to x, by Gauss–Legendre with `n_steps` points (Sundararajan et
    al. 2017). Its sum tends to S_c(x) − S_c(b) as the points grow in number."""

    name = "integrated-gradients"
    complete: ClassVar[bool] = True

    def __init__(self, model: nn.Module, target_layer: TargetLayer = None, *, n_steps: Count = 32) -> None:
        super().__init__(model, target_layer)
        self.n_steps = n_steps

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        explainer = captum().IntegratedGradients(classifier)
        together = max(1, TOGETHER // self.n_steps)  # captum sends all points of all images forward at once
        parts = zip(torch.split(images, together), torch.split(evidence.targets, together), strict=True)
        return torch.cat([explainer.attribute(x, target=c, n_steps=self.n_steps) for x, c in parts])

    def cost(self, image: Tensor) -> Calls:
        return Calls(forwards=self.n_steps, backwards=self.n_steps)


class GradientShap(Attribution):
    """The mean of (x − b) ⊙ ∂S_c/∂x at b + α(x − b) over `samples` draws of α ~ U[0, 1] and of b among `baselines`
    images: black, and noise uniform in [0, 1] (Lundberg and Lee 2017, as expected gradients).

    Its sum is S_c(x) − E_b S_c(b) in expectation. Every image draws its own noise, α and b from its seed.
    """

    name = "gradient-shap"
    exempt: ClassVar[Mapping[str, str]] = {"constant-evidence": "against noise, a pixel may be darker than a baseline"}

    def __init__(
        self, model: nn.Module, target_layer: TargetLayer = None, *, samples: Count = 16, baselines: Few = 8
    ) -> None:
        super().__init__(model, target_layer)
        self.samples, self.baselines = samples, baselines

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        explainer = captum().GradientShap(classifier)
        found = []
        rows = zip(torch.split(images.detach(), 1), evidence.targets.tolist(), evidence.seeds.tolist(), strict=True)
        for image, target, seed in rows:
            drawn = noise_baselines(image[0], self.baselines, seed)
            with drawing(seed, image.device):
                found.append(explainer.attribute(image, drawn, n_samples=self.samples, target=target))
        return torch.cat(found)

    def cost(self, image: Tensor) -> Calls:
        return Calls(forwards=self.samples, backwards=self.samples)


class LayerGradCam(Attribution):
    """Captum's own GradCAM, without its ReLU, to stand beside ours."""

    name = "captum-gradcam"
    needs_layer: ClassVar[bool] = True
    of_pixels: ClassVar[bool] = False
    rectified: ClassVar[bool] = True

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        layer = find_module(classifier.network, str(self.layer))
        explainer = captum().LayerGradCam(classifier, layer)
        found: Tensor = explainer.attribute(images, evidence.targets, relu_attributions=False)
        if found.shape[2:] != evidence.activations[str(self.layer)].shape[2:]:
            raise NotApplicable(
                f"captum's GradCAM takes layers of B×K×h×w alone; {self.layer!r} gives tokens or channels last: "
                "use gradcam"
            )
        return found
