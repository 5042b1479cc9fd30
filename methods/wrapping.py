"""Another method's maps, of another score or of several layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from camfaith.methods.base import Calls, Method, check_variant
from camfaith.models import maps
from camfaith.models.capture import Evidence, find_module, target_logit
from camfaith.models.classifier import Classifier

Variant = Literal["paper", "pgc"]
How = Literal["max", "mean"]


def _of_a_layer(method: str) -> Any:
    """The method class of that name; `ValueError` where it does not read a layer."""
    from camfaith.methods import find  # which knows the methods of this file too

    kind = find(method)
    if not getattr(kind, "needs_layer", True):
        raise ValueError(f"method must be one that explains a layer, as 'gradcam' does; got {method!r}")
    return kind


def _cost(method: Any, image: Tensor) -> Calls:
    cost = getattr(method, "cost", None)
    return cost(image) if callable(cost) else Calls()


class FinerCAM(Method):
    """What tells the class from others: the map of `method` for S_c − α/T Σ_t S_d_t (Zhang et al. 2025).

    The T others are the `similar` classes whose logits are nearest to S_c, all where there are fewer. α = `alpha`, 0.6
    in the paper; 0 gives `method` itself. The map is linear in the score for GradCAM, not so for others.

    `variant="pgc"`: the authors' code and pytorch-grad-cam 1.5 weigh the others by their probabilities,
    Σ_t p_t (S_c − α S_d_t)/(Σ_t p_t + 1e-9), through which the gradient flows too; their α is 1 unless told otherwise.
    """

    name = "finercam"
    needs_layer: ClassVar[bool] = True
    rectified: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        target_layer: str | None = None,
        *,
        method: str = "gradcam",
        alpha: float = 0.6,
        similar: int = 3,
        variant: Variant = "paper",
    ) -> None:
        super().__init__(model, target_layer)
        check_variant(variant, get_args(Variant))
        if similar < 1:
            raise ValueError(f"similar must be at least 1 class, got {similar}")
        self.kind = _of_a_layer(method)
        if not getattr(self.kind, "needs_gradients", True):
            raise ValueError(f"method must be one that reads gradients, as 'gradcam' does; got {method!r}")
        self.alpha, self.similar, self.variant = alpha, similar, variant

    def cost(self, image: Tensor) -> Calls:
        return Calls(forwards=1, backwards=1) + _cost(self.kind(self.classifier, self.layer), image)

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        layer = self.named_layer
        compared = classifier.evidence(
            evidence.images, evidence.targets, [layer], seeds=evidence.seeds, score=self.difference
        )
        found: Tensor = self.kind(classifier, layer).explain(compared, classifier)
        return found

    def difference(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The score that is explained, one per image."""
        own = target_logit(logits, targets)
        near = self._nearest(logits.detach(), targets)
        others = logits.gather(1, near)
        if self.variant == "pgc":
            p = logits.softmax(1).gather(1, near)
            return (p * (own[:, None] - self.alpha * others)).sum(1) / (p.sum(1) + 1e-9)
        return own - self.alpha * others.mean(1)

    def _nearest(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The classes of the nearest logits but the target's, B×T; of equals the first."""
        distance = (logits - logits.gather(1, targets[:, None])).abs()
        distance = distance.scatter(1, targets[:, None], math.inf)
        return distance.argsort(dim=1, stable=True)[:, : min(self.similar, logits.shape[1] - 1)]


class Fused(Method):
    """One map of several `layers`: the maximum, or the mean, of tanh(γ M/max|M|), M being the map of `method` at one,
    brought to the finest grid (Jiang et al. 2021).

    LayerCAM's paper scales the maps of its shallow layers so, with γ = `gamma` = 2, and takes the maximum; here every
    layer's map is scaled, which puts all on one level whatever their gradients' size. Maps of a method that ends in a
    ReLU are rectified first; those of a signed method keep their signs. A map that is zero stays zero. Without `layers`
    there is the target layer alone.
    """

    name = "fused"
    exempt: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("known-map", "cancelling-channel"), "tanh lifts what is weak in a layer's map, by definition"
    )
    needs_layer: ClassVar[bool] = True
    explained_layer = None

    def __init__(
        self,
        model: nn.Module,
        target_layer: str | None = None,
        *,
        method: str = "layercam",
        layers: Sequence[str] = (),
        how: How = "max",
        gamma: float = 2.0,
    ) -> None:
        super().__init__(model, target_layer)
        check_variant(how, get_args(How), "how")
        if gamma <= 0:
            raise ValueError(f"gamma must be above 0, got {gamma}")
        for layer in layers:
            find_module(self.classifier.network, layer)
        self.kind = _of_a_layer(method)
        self.named_layers, self.how, self.gamma = tuple(layers), how, gamma

    @property
    def needs_gradients(self) -> bool:  # type: ignore[override]
        return bool(getattr(self.kind, "needs_gradients", True))

    @property
    def layers(self) -> tuple[str, ...]:
        return self.named_layers or super().layers

    def cost(self, image: Tensor) -> Calls:
        return sum((_cost(part, image) for part in self._parts()), Calls())

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        scaled = [self._scaled(part.explain(evidence, classifier)) for part in self._parts()]
        finest = max((m.shape[-2:] for m in scaled), key=math.prod)
        grown = torch.stack([maps.upsample(m, (finest[0], finest[1])) for m in scaled])
        return grown.amax(0) if self.how == "max" else grown.mean(0)

    def _parts(self) -> list[Any]:
        return [self.kind(self.classifier, layer) for layer in self.layers]

    def _scaled(self, raw: Tensor) -> Tensor:
        if getattr(self.kind, "rectified", False):
            raw = maps.rectify(raw)
        top = raw.abs().amax((1, 2), keepdim=True)
        return (self.gamma * raw / torch.where(top > 0, top, 1)).tanh()
