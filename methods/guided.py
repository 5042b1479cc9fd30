"""Captum's attributions by a gradient that every ReLU changes on its way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from camfaith.methods.attribution import CaptumAttribution, captum, copied_to
from camfaith.methods.base import Calls
from camfaith.models.capture import Evidence, find_module
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable


def _relus(network: nn.Module) -> list[nn.Module]:
    relus: list[nn.Module] = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    if not relus:
        raise NotApplicable(
            f"guided backpropagation and deconvolution need nn.ReLU modules; {type(network).__name__} has none "
            "(functional ReLUs and other activations cannot be guided)"
        )
    return relus


class GuidedBackprop(CaptumAttribution):
    """The gradient with negative flow cut at every ReLU (Springenberg et al. 2014); needs `nn.ReLU` modules."""

    name = "guided-backprop"

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        with copied_to(_relus(classifier.network)):
            found: Tensor = captum().GuidedBackprop(classifier).attribute(images, evidence.targets)
        return found


class Deconvolution(CaptumAttribution):
    """The gradient with every ReLU passing back the positive part of what reaches it, whether or not it was open itself
    (Zeiler and Fergus 2014); needs `nn.ReLU` modules."""

    name = "deconvolution"
    exempt: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("planted-patch", "negative-logit", "mosaic"),
        "it passes a ReLU whether or not that was open, so pixels that the score does not depend on light up",
    )

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        with copied_to(_relus(classifier.network)):
            found: Tensor = captum().Deconvolution(classifier).attribute(images, evidence.targets)
        return found


class GuidedGradCam(CaptumAttribution):
    """Guided backpropagation ⊙ upsampled GradCAM (Selvaraju et al. 2017); needs `nn.ReLU` modules."""

    name = "guided-gradcam"
    needs_layer: ClassVar[bool] = True
    explained_layer = None

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        layer = find_module(classifier.network, str(self.layer))
        with copied_to(_relus(classifier.network)):
            explainer = captum().GuidedGradCam(classifier, layer)
            found: Tensor = explainer.attribute(images, evidence.targets, interpolate_mode="bilinear")
        return found

    def cost(self, image: Tensor) -> Calls:  # noqa: ARG002
        return Calls(forwards=2, backwards=2)
