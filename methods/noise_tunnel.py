"""Another attribution over images with noise: SmoothGrad, its square, and VarGrad."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from camfaith.methods.attribution import Attribution
from camfaith.methods.base import Calls, TargetLayer, name_and_settings
from camfaith.models.capture import Evidence, single
from camfaith.models.classifier import Classifier
from camfaith.models.settings import Count, NotNegative

Kind = Literal["smoothgrad", "smoothgrad-squared", "vargrad"]
_KINDS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "smoothgrad": lambda maps: maps.mean(0),
    "smoothgrad-squared": lambda maps: maps.square().mean(0),
    "vargrad": lambda maps: maps.var(0, correction=0),
}
_TOGETHER = 16


class NoiseTunnel(Attribution):
    """An attribution M of pixels at x + ε_i, ε_i ~ N(0, `sigma`²) for every pixel and colour, i = 1..n `samples`:

    `smoothgrad` Σ_i M(x + ε_i)/n (Smilkov et al. 2017), `smoothgrad-squared` Σ_i M²/n (Hooker et al. 2019), `vargrad`
    Σ_i M²/n − (Σ_i M/n)² (Adebayo et al. 2018), colour by colour, before M merges a pixel's colours into one value.

    `method` is M's name, or a mapping of its `name` and settings. σ is in the images' units, where white is 1. Every
    image draws its noise from its seed. M's superpixels are those of x; its other random choices differ for each i.
    """

    name = "noise-tunnel"
    explained_layer = None

    def __init__(
        self,
        model: nn.Module,
        target_layer: TargetLayer = None,
        *,
        method: str | Mapping[str, Any] = "saliency",
        kind: Kind = "smoothgrad",
        samples: Count = 16,
        sigma: NotNegative = 0.1,
    ) -> None:
        super().__init__(model, target_layer)
        self.kind, self.samples, self.sigma = kind, samples, sigma
        self.method = _inner(self.classifier, self.layer, method)
        self.unsigned = kind != "smoothgrad" or self.method.unsigned  # type: ignore[misc]
        self.needs_layer, self.of_pixels = self.method.needs_layer, self.method.of_pixels  # type: ignore[misc]

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        self.method.layer = self.layer  # which may have been found meanwhile
        rows = enumerate(images.detach())
        return torch.stack([self._smooth(evidence.select([row]), classifier, image) for row, image in rows])

    def _smooth(self, evidence: Evidence, classifier: Classifier, image: Tensor) -> Tensor:
        source = torch.Generator().manual_seed(int(evidence.seeds[0]))
        noise = self.sigma * torch.randn(self.samples, *image.shape, generator=source)
        seeds = torch.randint(2**31, (self.samples,), generator=source)
        maps = []
        for part, own in zip(torch.split(noise, _TOGETHER), torch.split(seeds, _TOGETHER), strict=True):
            repeated = replace(evidence.select([0] * len(part)), seeds=own)
            noisy = (image + part.to(image)).requires_grad_()
            if self.method.needs_gradients:
                there = classifier.evidence(noisy, repeated.targets, self.method.layers)
                repeated = replace(repeated, activations=there.activations, gradients=there.gradients)
            maps.append(single(self.method.attribute(repeated, classifier, noisy).detach()))
        return _KINDS[self.kind](torch.cat(maps))

    def combine(self, attributions: Tensor) -> Tensor:
        return self.method.combine(attributions)

    def cost(self, image: Tensor) -> Calls:
        at_layers = Calls(forwards=1, backwards=1) if self.method.needs_gradients else Calls()
        return (self.method.cost(image) + at_layers) * self.samples


def _inner(classifier: Classifier, layer: str | None, method: str | Mapping[str, Any]) -> Attribution:
    from camfaith.methods import find  # which knows this method too

    name, settings = name_and_settings(method, "a noise tunnel")
    found = find(name)(classifier, layer, **settings)
    if not isinstance(found, Attribution):
        raise ValueError(f"a noise tunnel takes an attribution of pixels, such as 'saliency'; got {name!r}")
    return found
