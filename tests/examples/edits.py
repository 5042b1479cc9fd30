"""What its author may make of examples/new-cam/nearcam.py: slips, a refactoring, and a better one."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional as F

from camfaith.methods import Calls, find

EXAMPLE = Path(__file__).parents[2] / "examples" / "new-cam"
NearCAM = find(f"{EXAMPLE / 'nearcam.py'}:NearCAM")


class Refactored(NearCAM):
    """The sum as one product of matrices."""

    def explain(self, evidence, classifier):
        activations = evidence.activations[self.layer]
        return torch.einsum("bkhw,bkhw->bhw", self.weights(activations, evidence.gradients[self.layer]), activations)


class Narrower(NearCAM):
    window = 3


class WrongAxis(NearCAM):
    def weights(self, activations, gradients):
        return gradients.mean(1, keepdim=True)


class SignLost(NearCAM):
    def weights(self, activations, gradients):
        return super().weights(activations, gradients.abs())


class Shifted(NearCAM):
    """Twice as fine, and half a cell down and to the right; the sum is kept."""

    def explain(self, evidence, classifier):
        fine = F.interpolate(super().explain(evidence, classifier)[:, None], scale_factor=2, mode="bilinear")[:, 0]
        return fine.roll((1, 1), (1, 2)) / 4


class OverTheBatch(NearCAM):
    def explain(self, evidence, classifier):
        return (raw := super().explain(evidence, classifier)) / raw.abs().max()


class ReLUFirst(NearCAM):
    def explain(self, evidence, classifier):
        return self._weighted(evidence).clamp(min=0).sum(1)


class AbsoluteWeights(NearCAM):
    def weights(self, activations, gradients):
        return super().weights(activations, gradients).abs()


class TwiceTheForwards(NearCAM):
    def explain(self, evidence, classifier):
        classifier.scores(evidence.images)
        return super().explain(evidence, classifier)

    def cost(self, image):
        return Calls(forwards=1)
