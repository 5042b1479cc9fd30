"""Captum's attributions to superpixels, by switching them to black: ablation, Shapley values, and linear models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from camfaith.methods.attribution import Attribution, captum, drawing
from camfaith.methods.base import Calls, TargetLayer
from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.settings import Count, Few, NotNegative, Positive
from camfaith.models.speed.setup import scoring_batch
from camfaith.models.superpixels import require, superpixels

Game = Callable[[Tensor], Tensor]
"""v: the S_c (n) of n images in which some of M superpixels are present (n×M, ones and zeros) and the others black."""


class SuperpixelAttribution(Attribution):
    """What M superpixels of an image give to the score, against black; every pixel carries the value of its superpixel.

    A new one overrides `values` and `calls`. The superpixels are those of the image without noise, by `superpixels`.
    """

    needs: ClassVar[tuple[str, ...]] = ("skimage.segmentation",)

    def __init__(
        self,
        model: nn.Module,
        target_layer: TargetLayer = None,
        *,
        segments: Few = 50,
        compactness: Positive = 10.0,
    ) -> None:
        super().__init__(model, target_layer)
        self.segments, self.compactness = segments, compactness
        for module in self.needs:
            require(module)

    def values(self, game: Game, everything: Tensor, batch: int) -> Tensor:
        """The value of each superpixel (1×M), from the game and a row of M ones, in batches of so many."""
        raise NotImplementedError

    def calls(self, count: int) -> int:
        """How many images `values` scores for M superpixels."""
        raise NotImplementedError

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        maps = []
        for row, image in enumerate(images.detach()):
            labels = superpixels(evidence.images[row], self.segments, self.compactness)
            game = _game(classifier, image, labels, int(evidence.targets[row]))
            with torch.no_grad(), drawing(int(evidence.seeds[row]), image.device):
                values = self.values(game, image.new_ones(1, int(labels.max()) + 1), scoring_batch(images))
            maps.append(values[0].to(image)[labels])
        return torch.stack(maps)[:, None]

    def cost(self, image: Tensor) -> Calls:
        labels = superpixels(image[0], self.segments, self.compactness)
        return Calls(forwards=self.calls(int(labels.max()) + 1))


def _game(classifier: Classifier, image: Tensor, labels: Tensor, target: int) -> Game:
    def play(there: Tensor) -> Tensor:
        scores: Tensor = classifier(there.to(image)[:, labels][:, None] * image)[:, target]
        return scores

    return play


class FeatureAblation(SuperpixelAttribution):
    """v(all) − v(all without i)."""

    name = "feature-ablation"

    def values(self, game: Game, everything: Tensor, batch: int) -> Tensor:
        found: Tensor = captum().FeatureAblation(game).attribute(everything, perturbations_per_eval=batch)
        return found

    def calls(self, count: int) -> int:
        return 1 + count


class ShapleyValueSampling(SuperpixelAttribution):
    """The mean over `samples` random orders of the superpixels of v(those before i, and i) − v(those before i), which
    tends to the Shapley value (Castro et al. 2009). For any number of orders, the values of all superpixels sum to
    v(all) − v(none) = S_c(x) − S_c(0)."""

    name = "shapley-value-sampling"

    def __init__(
        self,
        model: nn.Module,
        target_layer: TargetLayer = None,
        *,
        samples: Count = 10,
        segments: Few = 50,
        compactness: Positive = 10.0,
    ) -> None:
        super().__init__(model, target_layer, segments=segments, compactness=compactness)
        self.samples = samples

    def values(self, game: Game, everything: Tensor, batch: int) -> Tensor:
        explainer = captum().ShapleyValueSampling(game)
        found: Tensor = explainer.attribute(everything, n_samples=self.samples, perturbations_per_eval=batch)
        return found

    def calls(self, count: int) -> int:
        return 1 + self.samples * count


class KernelShap(SuperpixelAttribution):
    """φ of the linear model φ_0 + Σ_i z_i φ_i that fits v(z) best over `samples` draws of z by the Shapley kernel
    (M−1)/(C(M,k)·k·(M−k)), with k of M present; all and none count a million times as much, so that Σφ = v(all) −
    v(none) (Lundberg and Lee 2017).

    If there are fewer samples than superpixels, the model is not determined, and φ is the shortest one. Raises
    `NotApplicable` for an image of one superpixel.
    """

    name = "kernel-shap"
    needs: ClassVar[tuple[str, ...]] = ("skimage.segmentation", "sklearn")

    def __init__(
        self,
        model: nn.Module,
        target_layer: TargetLayer = None,
        *,
        samples: Count = 512,
        segments: Few = 50,
        compactness: Positive = 10.0,
    ) -> None:
        super().__init__(model, target_layer, segments=segments, compactness=compactness)
        self.samples = samples

    def values(self, game: Game, everything: Tensor, batch: int) -> Tensor:
        if everything.shape[1] == 1:
            raise NotApplicable("kernel-shap needs two superpixels, and SLIC finds one in this image; raise `segments`")
        explainer = captum().KernelShap(game)
        found: Tensor = explainer.attribute(everything, n_samples=self.samples, perturbations_per_eval=batch)
        return found

    def calls(self, count: int) -> int:
        return self.samples


class Lime(SuperpixelAttribution):
    """β of the linear model β_0 + Σ_i z_i β_i that fits v(z) over `samples` fair draws of z ∈ {0, 1}^M, each weighted
    by exp(−d²/(2·`width`²)) with d the cosine distance from z to all ones (Ribeiro et al. 2016): by Lasso with its
    penalty `alpha`·Σ|β_i|, in units of the logit, or by least squares where `alpha` is 0."""

    name = "lime"
    exempt: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("class-dependence", "constant-evidence"), "its penalty leaves nothing of effects that are small"
    )
    needs: ClassVar[tuple[str, ...]] = ("skimage.segmentation", "sklearn")

    def __init__(
        self,
        model: nn.Module,
        target_layer: TargetLayer = None,
        *,
        samples: Count = 512,
        alpha: NotNegative = 0.01,
        width: Positive = 0.25,
        segments: Few = 50,
        compactness: Positive = 10.0,
    ) -> None:
        super().__init__(model, target_layer, segments=segments, compactness=compactness)
        self.samples, self.alpha, self.width = samples, alpha, width

    def values(self, game: Game, everything: Tensor, batch: int) -> Tensor:
        from captum._utils.models.linear_model import SkLearnLasso, SkLearnLinearRegression
        from captum.attr._core.lime import get_exp_kernel_similarity_function

        explainer = captum().Lime(
            game,
            interpretable_model=SkLearnLasso(alpha=self.alpha) if self.alpha else SkLearnLinearRegression(),
            similarity_func=get_exp_kernel_similarity_function("cosine", self.width),
        )
        found: Tensor = explainer.attribute(everything, n_samples=self.samples, perturbations_per_eval=batch)
        return found

    def calls(self, count: int) -> int:
        return self.samples
