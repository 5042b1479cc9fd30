"""Yardsticks that know nothing of the network: what a method must beat, and the best that a mask could do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camfaith.methods.base import Method, TargetLayer
from camfaith.models.capture import Evidence, single
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.settings import Few, Positive


class Control(Method):
    needs_layer: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False
    control: ClassVar[bool] = True
    class_dependent: ClassVar[bool] = False
    of_pixels: ClassVar[bool] = True


class Random(Control):
    """Uniform noise on a `grid`×`grid` map, drawn from each image's own seed; as coarse as a CAM, so it is upsampled
    alike."""

    name = "random"
    of_pixels: ClassVar[bool] = False

    def __init__(self, model: nn.Module, target_layer: TargetLayer = None, *, grid: Few = 7) -> None:
        super().__init__(model, target_layer)
        self.grid = grid

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        return _uniform(evidence, (self.grid, self.grid))


class RandomPixels(Control):
    """Uniform noise on the image's own grid, drawn from each image's own seed: a random order of single pixels. Beside
    `random` it tells whether grain decides."""

    name = "random-pixels"

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        return _uniform(evidence, evidence.images.shape[-2:])


def _uniform(evidence: Evidence, size: Sequence[int]) -> Tensor:
    sources = [torch.Generator().manual_seed(seed) for seed in evidence.seeds.tolist()]
    drawn = [torch.rand(*size, generator=source, dtype=torch.float64) for source in sources]
    return torch.stack(drawn).to(single(evidence.images))


class Constant(Control):
    """One everywhere: all pixels tie."""

    name = "constant"

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        return single(evidence.images).new_ones(len(evidence), *evidence.images.shape[-2:])


class CenterGaussian(Control):
    """A Gaussian at the image's centre, `sigma` in units of each side: where photographers put things."""

    name = "center-gaussian"

    def __init__(self, model: nn.Module, target_layer: TargetLayer = None, *, sigma: Positive = 0.25) -> None:
        super().__init__(model, target_layer)
        self.sigma = sigma

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        height, width = evidence.images.shape[-2:]
        rows, columns = ((torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5 for n in (height, width))
        squared = rows[:, None] ** 2 + columns[None, :] ** 2
        gaussian = torch.exp(-squared / (2 * self.sigma**2)).to(single(evidence.images))
        return gaussian.expand(len(evidence), -1, -1).clone()


class Sobel(Control):
    """The size of the grey image's gradient by Sobel's operator: an edge detector, blind to the network and class."""

    name = "sobel"

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        grey = F.pad(single(evidence.images).mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        return torch.hypot(self._across(grey), self._across(grey.mT).mT)[:, 0]

    @staticmethod
    def _across(grey: Tensor) -> Tensor:
        """Takes differences before it smooths with [1, 2, 1], so that plain areas give an exact 0 and stay ties."""
        steps = grey[..., 2:] - grey[..., :-2]
        return steps[..., :-2, :] + 2 * steps[..., 1:-1, :] + steps[..., 2:, :]


class Oracle(Control):
    """The ground-truth mask itself; raises `NotApplicable` if an image has none."""

    name = "oracle"

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        if evidence.masks is None or not bool(evidence.masks.flatten(1).any(1).all()):
            raise NotApplicable("the oracle needs a ground-truth mask that is not empty")
        return evidence.masks.to(single(evidence.images))
