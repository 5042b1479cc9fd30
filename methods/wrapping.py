"""Another method's maps, for another score or from several layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from camfaith.methods.base import Calls, Method, TargetLayer, name_and_settings
from camfaith.methods.contract import bind
from camfaith.methods.gradient import LayerCAM
from camfaith.models import maps
from camfaith.models.capture import Evidence, single, target_logit
from camfaith.models.classifier import Classifier, Targets
from camfaith.models.contract import Bound, said
from camfaith.models.errors import NotApplicable
from camfaith.models.naming import layer_name
from camfaith.models.settings import Count, NotNegative, Positive

Inner = str | Mapping[str, Any]
"""A method's name, or a mapping of its `name` and settings."""

Variant = Literal["paper", "pgc"]
Fusion = Literal["paper", "pgc", "torchcam"]
How = Literal["max", "mean"]


def _of_a_layer(method: Inner, of: str) -> Callable[[Classifier, str | None], Bound]:
    """A function that binds the method to a classifier and one of its layers; `ValueError` if the method reads no
    layer."""
    from camfaith.methods import find  # which knows the methods of this file too

    name, settings = name_and_settings(method, of)
    kind = find(name)
    if not said(kind, "needs_layer"):
        raise ValueError(f"method must be one that explains a layer, as 'gradcam' does; got {name!r}")
    return partial(bind, kind, settings=settings)


class _Wrapping(Method):
    inner: Bound

    @property
    def _as_elsewhere(self) -> bool:
        return super()._as_elsewhere or bool(getattr(self.inner.explainer, "_as_elsewhere", False))


class FinerCAM(_Wrapping):
    """What tells the class from similar ones: the map of `method` for S_c − α/T Σ_t S_d_t (Zhang et al. 2025).

    The T others are the `similar` classes whose logits are nearest to S_c, or all, if there are fewer. α = `alpha`, 0.6
    in the paper; 0 gives `method` itself, a name or a mapping of its `name` and settings. The map is linear in the
    score for GradCAM, but not for other methods.

    `variant="pgc"`: the authors' code and pytorch-grad-cam 1.5 weigh the others by their probabilities,
    Σ_t p_t (S_c − α S_d_t)/(Σ_t p_t + 1e-9), through which the gradient flows too; their α is 1 unless told otherwise.
    """

    name = "finercam"
    needs_gradients: ClassVar[bool] = False

    def __init__(
        self,
        model: nn.Module,
        target_layer: TargetLayer = None,
        *,
        method: Inner = "gradcam",
        alpha: NotNegative = 0.6,
        similar: Count = 3,
        variant: Variant = "paper",
    ) -> None:
        super().__init__(model, target_layer)
        self.at = _of_a_layer(method, self.name)
        self.inner = self.at(self.classifier, self.layer)
        if not self.inner.needs_gradients:
            raise ValueError(f"method must be one that reads gradients, as 'gradcam' does; got {method!r}")
        self.alpha, self.similar, self.variant = alpha, similar, variant

    @property
    def rectified(self) -> bool:  # type: ignore[override]
        return self.inner.rectified

    def cost(self, image: Tensor) -> Calls:
        return Calls(forwards=1, backwards=1) + self.at(self.classifier, self.layer).cost(image)

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        return self._compared(classifier, evidence.images, evidence.targets, evidence.seeds)

    def _asked(self, images: Tensor, class_idx: Targets) -> Tensor:
        return self._compared(self.classifier, images, class_idx)

    def _compared(
        self, classifier: Classifier, images: Tensor, class_idx: Targets, seeds: Tensor | None = None
    ) -> Tensor:
        layer = self.named_layer
        evidence = classifier.evidence(images, class_idx, [layer], seeds=seeds, score=self.difference)
        return self.at(classifier, layer).explain(evidence)

    def difference(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The explained score of each image, in single precision at least."""
        logits = single(logits)
        if logits.shape[1] < 2:
            raise NotApplicable(f"{self.name} tells a class from similar ones, and this network has one score alone")
        own = target_logit(logits, targets)
        near = self._nearest(logits.detach(), targets)
        others = logits.gather(1, near)
        if self.variant == "pgc":
            p = self.classifier.head.probabilities(logits).gather(1, near)
            return (p * (own[:, None] - self.alpha * others)).sum(1) / (p.sum(1) + 1e-9)
        return own - self.alpha * others.mean(1)

    def _nearest(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The classes with the logits nearest to the target's, without it (B×T); of equal ones the first."""
        distance = (logits - logits.gather(1, targets[:, None])).abs()
        distance = distance.scatter(1, targets[:, None], math.inf)
        return distance.argsort(dim=1, stable=True)[:, : min(self.similar, logits.shape[1] - 1)]


class Fused(_Wrapping):
    """One map from several `layers`: the maximum, or the mean, of tanh(γ M/max|M|), where M is the map of `method` at
    one layer, upsampled to the greatest height and width among them (Jiang et al. 2021).

    LayerCAM's paper scales the maps of its shallow layers in this way, with γ = `gamma` = 2, and takes the maximum
    (`how`). Here every layer's map is scaled, so that all count alike, whatever their gradients' size. Maps of a method
    that ends in a ReLU are rectified first; those of a signed method keep their signs. A zero map stays zero. `layers`
    are names or modules; without them, the target layer alone is taken.

    `variant` says how maps are joined; M has a variant of its own: `method={"name": "gradcam++", "variant": "pgc"}`.
    `"pgc"`: as pytorch-grad-cam 1.5 joins its `target_layers`, the mean of the rectified maps, each (M − min)/(max −
    min + 1e-7) and upsampled to the image. `"torchcam"`: `fuse_cams` of torchcam 0.5, the maximum of (M − min)/(max −
    min + 1e-8), which goes through tanh(2 ·) for LayerCAM, unless it is one map alone. With both, `how` and `gamma`
    cannot be chosen.
    """

    name = "fused"
    exempt: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("known-map", "cancelling-channel"), "tanh lifts what is weak in a layer's map, by definition"
    )
    explained_layer = None

    def __init__(
        self,
        model: nn.Module,
        target_layer: TargetLayer = None,
        *,
        method: Inner = "layercam",
        layers: Sequence[str | nn.Module] = (),
        how: How | None = None,
        gamma: Positive | None = None,
        variant: Fusion = "paper",
    ) -> None:
        super().__init__(model, target_layer)
        if variant != "paper" and (how, gamma) != (None, None):
            raise ValueError(
                f"variant {variant!r} joins maps in a way of its own: leave out how and gamma, got {how!r} and {gamma}"
            )
        self.at = _of_a_layer(method, self.name)
        self.inner = self.at(self.classifier, self.layer)
        self.named_layers = tuple(layer_name(self.classifier.network, layer) for layer in layers)
        self.how, self.gamma, self.variant = how or "max", gamma or 2.0, variant

    @property
    def needs_gradients(self) -> bool:  # type: ignore[override]
        return self.inner.needs_gradients

    @property
    def layers(self) -> tuple[str, ...]:
        return self.named_layers or super().layers

    def cost(self, image: Tensor) -> Calls:
        return sum((part.cost(image) for part in self._parts(self.classifier)), Calls())

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        found = [part.explain(evidence) for part in self._parts(classifier)]
        if self.variant == "pgc" or self.inner.rectified:
            found = [maps.rectify(raw) for raw in found]
        if self.variant == "pgc":
            return _grown([_stretched(m, 1e-7) for m in found], evidence.images.shape).mean(0)
        scaled = self._of_torchcam(found) if self.variant == "torchcam" else [self._scaled(m) for m in found]
        grown = _grown(scaled, *(m.shape for m in scaled))
        return grown.mean(0) if self.how == "mean" else grown.amax(0)

    def _parts(self, classifier: Classifier) -> list[Bound]:
        return [self.at(classifier, layer) for layer in self.layers]

    def _scaled(self, rectified: Tensor) -> Tensor:
        top = rectified.abs().amax((1, 2), keepdim=True)
        return (self.gamma * rectified / torch.where(top > 0, top, 1)).tanh()

    def _of_torchcam(self, rectified: list[Tensor]) -> list[Tensor]:
        stretched = [_stretched(m, 1e-8) for m in rectified]
        if len(stretched) == 1 or not isinstance(self.inner.explainer, LayerCAM):
            return stretched
        return [(2 * m).tanh() for m in stretched]


def _stretched(m: Tensor, eps: float) -> Tensor:
    """Stretched to [0, 1] as the libraries do it: a flat map becomes 0."""
    low, high = m.amin((1, 2), keepdim=True), m.amax((1, 2), keepdim=True)
    return (m - low) / (high - low + eps)


def _grown(all_maps: Sequence[Tensor], *shapes: torch.Size) -> Tensor:
    """The maps of every layer, each upsampled to the greatest height and the greatest width of these shapes."""
    size = max(shape[-2] for shape in shapes), max(shape[-1] for shape in shapes)
    return torch.stack([maps.upsample(m, size) for m in all_maps])
