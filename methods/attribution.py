"""Captum's attributions under the names and rules of this package: raw B×h×w maps, colours summed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from camfaith.methods.base import Calls, Method
from camfaith.models.capture import Evidence, evaluating, find_module
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable


def _captum() -> Any:
    """Imported by whoever asks for one of its attributions: it takes half a second."""
    import captum.attr

    return captum.attr


@contextmanager
def _out_of_place(network: nn.Module) -> Iterator[None]:
    """In-place activations write over what captum's hooks hold; they work on copies inside."""
    changed = [m for m in network.modules() if getattr(m, "inplace", False) is True]
    try:
        for module in changed:
            module.inplace = False  # type: ignore[assignment]
        yield
    finally:
        for module in changed:
            module.inplace = True  # type: ignore[assignment]


@contextmanager
def _copied_to_relus(network: nn.Module) -> Iterator[None]:
    """Captum guides the whole gradient of a ReLU's input; with a copy for the ReLU alone, what flows past it, as in a
    residual branch, stays as it is."""
    relus = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    if not relus:
        raise NotApplicable(
            f"guided backpropagation needs nn.ReLU modules; {type(network).__name__} has none "
            "(functional ReLUs and other activations cannot be guided)"
        )
    handles = [relu.register_forward_pre_hook(lambda _module, inputs: (inputs[0].clone(),)) for relu in relus]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class CaptumAttribution(Method):
    """One of captum's attributions; a new one gives `attribute` and its `cost`."""

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        """Captum's result for `images` (which asks for gradients), B×K×h×w."""
        raise NotImplementedError

    def cost(self, image: Tensor) -> Calls:  # noqa: ARG002
        return Calls(forwards=1, backwards=1)

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            evaluating(classifier.network),
            _out_of_place(classifier.network),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", message=".*(backward hook|required_grads|Setting).*")
            images = evidence.images.clone().requires_grad_()
            found = self.attribute(evidence, classifier, images).detach()
            return self.combine(found.to(images.dtype))  # captum's occlusion always gives single precision

    def combine(self, attributions: Tensor) -> Tensor:
        """One value per pixel from one per colour: the sum, which keeps completeness."""
        return attributions.sum(1)


class Saliency(CaptumAttribution):
    """max over colours of |∂S_c/∂x| (Simonyan et al. 2013)."""

    name = "saliency"

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        found: Tensor = _captum().Saliency(classifier).attribute(images, evidence.targets, abs=True)
        return found

    def combine(self, attributions: Tensor) -> Tensor:
        return attributions.amax(1)


class InputXGradient(CaptumAttribution):
    """x ⊙ ∂S_c/∂x, summed over colours (Shrikumar et al. 2016)."""

    name = "input-x-gradient"

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        found: Tensor = _captum().InputXGradient(classifier).attribute(images, evidence.targets)
        return found


class IntegratedGradients(CaptumAttribution):
    """(x − b) ⊙ ∫ ∂S_c/∂x along the line from black b to x, by Gauss–Legendre with `n_steps` points (Sundararajan et
    al. 2017). Its sum tends to S_c(x) − S_c(b) as the points grow in number."""

    name = "integrated-gradients"

    def __init__(self, model: nn.Module, target_layer: str | None = None, *, n_steps: int = 32) -> None:
        super().__init__(model, target_layer)
        self.n_steps = n_steps

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        explainer = _captum().IntegratedGradients(classifier)
        together = max(1, 64 // self.n_steps)  # captum sends all points of all images forward at once
        parts = zip(torch.split(images, together), torch.split(evidence.targets, together), strict=True)
        return torch.cat([explainer.attribute(x, target=c, n_steps=self.n_steps) for x, c in parts])

    def cost(self, image: Tensor) -> Calls:  # noqa: ARG002
        return Calls(forwards=self.n_steps, backwards=self.n_steps)


class GuidedBackprop(CaptumAttribution):
    """The gradient with negative flow cut at every ReLU (Springenberg et al. 2014); needs `nn.ReLU` modules."""

    name = "guided-backprop"

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        with _copied_to_relus(classifier.network):
            found: Tensor = _captum().GuidedBackprop(classifier).attribute(images, evidence.targets)
        return found


class GuidedGradCam(CaptumAttribution):
    """Guided backpropagation ⊙ upsampled GradCAM (Selvaraju et al. 2017); needs `nn.ReLU` modules."""

    name = "guided-gradcam"
    needs_layer: ClassVar[bool] = True
    explained_layer = None

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        layer = find_module(classifier.network, str(self.layer))
        with _copied_to_relus(classifier.network):
            explainer = _captum().GuidedGradCam(classifier, layer)
            found: Tensor = explainer.attribute(images, evidence.targets, interpolate_mode="bilinear")
        return found

    def cost(self, image: Tensor) -> Calls:  # noqa: ARG002
        return Calls(forwards=2, backwards=2)


class LayerGradCam(CaptumAttribution):
    """Captum's own GradCAM, without its ReLU, to stand beside ours."""

    name = "captum-gradcam"
    needs_layer: ClassVar[bool] = True
    rectified: ClassVar[bool] = True

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        layer = find_module(classifier.network, str(self.layer))
        explainer = _captum().LayerGradCam(classifier, layer)
        found: Tensor = explainer.attribute(images, evidence.targets, relu_attributions=False)
        return found


class Occlusion(CaptumAttribution):
    """S_c(x) − S_c(x with a black window), averaged over the windows that cover a pixel (Zeiler and Fergus 2014).

    `window` and `stride` are pixels; None makes them 1/6 and 1/12 of the image's side.
    """

    name = "occlusion"

    def __init__(
        self, model: nn.Module, target_layer: str | None = None, *, window: int | None = None, stride: int | None = None
    ) -> None:
        super().__init__(model, target_layer)
        self.window, self.stride = window, stride

    def _sizes(self, height: int, width: int) -> tuple[int, int]:
        side = min(height, width)
        return self.window or max(1, side // 6), self.stride or max(1, side // 12)

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        window, stride = self._sizes(*images.shape[-2:])
        explainer = _captum().Occlusion(classifier)
        with torch.no_grad():
            found: Tensor = explainer.attribute(
                images.detach(),
                sliding_window_shapes=(images.shape[1], window, window),
                strides=(images.shape[1], stride, stride),
                target=evidence.targets,
                perturbations_per_eval=max(1, 64 // len(images)),
            )
        return found

    def combine(self, attributions: Tensor) -> Tensor:
        """The window covers all colours, and each of them carries its whole difference."""
        return attributions.mean(1)

    def cost(self, image: Tensor) -> Calls:
        window, stride = self._sizes(*image.shape[-2:])
        steps = [math.ceil((side - window) / stride) + 1 for side in image.shape[-2:]]
        return Calls(forwards=1 + steps[0] * steps[1])
