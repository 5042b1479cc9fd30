"""Class activation maps from the singular vectors of what a layer shows, without weights for its channels.

M is the hw×K matrix of a layer's features, one row a cell, and M = U Σ Vᵀ. Every map is M v₁ on the grid: M makes the
method.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from camfaith.methods.base import Method
from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier


class SingularMap(Method):
    """M v₁, the cells projected onto the first right singular vector; a new variant overrides `features` alone.

    A singular vector has no sign. Here Σ_k v_k ≥ 0, so that ⟨M v₁, Σ_k M_k⟩ ≥ 0: the map points where the channels' sum
    does, and is nowhere negative where M is not. Zero features give a zero map. Where the two largest singular values
    are equal v₁ is any vector of a plane, and so is the map.
    """

    needs_layer: ClassVar[bool] = True
    needs_gradients: ClassVar[bool] = False
    rectified: ClassVar[bool] = False

    def features(self, evidence: Evidence, layer: str) -> Tensor:
        """M with its rows on the grid, B×K×h×w."""
        raise NotImplementedError(f"{type(self).__name__} must define features(evidence, layer)")

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:  # noqa: ARG002
        if self.layer is None:
            raise ValueError(f"{type(self).__name__} needs a target layer: give target_layer, or call it on an image")
        if self.needs_gradients and self.layer not in evidence.gradients:
            raise ValueError(f"{type(self).__name__} needs evidence with gradients at {self.layer!r}")
        features = self.features(evidence, self.layer)
        return first_projection(features.flatten(2).mT).view(len(features), *features.shape[2:])


class EigenCAM(SingularMap):
    """M = A: the activations alone, for every class the same (Muhammad and Yeasin 2020).

    Not centred, as in the paper, which has no ReLU either.
    """

    name = "eigencam"

    def features(self, evidence: Evidence, layer: str) -> Tensor:
        return evidence.activations[layer]


class EigenGradCAM(SingularMap):
    """M = g ⊙ A: EigenCAM of what each activation adds to the class's logit, signed.

    It has no paper; it comes from pytorch-grad-cam, which centres M's columns. Here they are not centred, as EigenCAM's
    are not.
    """

    name = "eigengradcam"
    needs_gradients: ClassVar[bool] = True

    def features(self, evidence: Evidence, layer: str) -> Tensor:
        return evidence.gradients[layer] * evidence.activations[layer]


def first_projection(matrices: Tensor) -> Tensor:
    """M v₁ for each of B matrices n×K, with Σ_k v_k ≥ 0 (B×n).

    From the eigenvectors of M Mᵀ or MᵀM, whichever is smaller: Mᵀu = σv and Mv = σu. Each matrix is scaled to a largest
    entry of 1 before it is squared, so that small gradients do not vanish.
    """
    size = matrices.abs().amax((1, 2), keepdim=True)
    unit = matrices / torch.where(size > 0, size, torch.ones_like(size))
    if unit.shape[1] <= unit.shape[2]:
        squares, vectors = torch.linalg.eigh(unit @ unit.mT)  # eigenvalues rise: the last is σ₁²
        projected = vectors[..., -1] * squares[..., -1:].clamp(min=0).sqrt()
    else:
        projected = (unit @ torch.linalg.eigh(unit.mT @ unit).eigenvectors[..., -1:])[..., 0]
    towards = (projected * unit.sum(2)).sum(1, keepdim=True)  # σ₁² Σ_k v_k
    return torch.where(towards < 0, -projected, projected) * size[..., 0]
