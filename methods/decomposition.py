"""Class activation maps from the components of a layer's features, without weights for its channels.

M is the hw×K matrix of a layer's features, one row per cell. Every map says where each cell lies along the first
component of M's rows. The choice of M and of the component makes the method.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from camfaith.methods.base import Method, TargetLayer
from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier
from camfaith.models.settings import Positive


class SingularMap(Method):
    """M v₁, the cells projected onto the first right singular vector; a new variant overrides `features` alone.

    A singular vector has no sign. Here Σ_k v_k ≥ 0, so that ⟨M v₁, Σ_k M_k⟩ ≥ 0: the map points where the channels' sum
    does, and is not negative if M is not. If rounding hides that sign, as behind a layer norm, where every cell's
    channels sum to zero, the map's entry of greatest size is not negative. Zero features give a zero map. If the two
    largest singular values are equal, v₁ is any vector of a plane, and the map is as arbitrary.

    `variant="pgc"` subtracts every column's mean from M first, and keeps the sign that numpy's decomposition gives v₁,
    as pytorch-grad-cam 1.5 does. That sign depends on the last bit of M: for the same activations it is the library's,
    but it may change with the size of the batch, the layout of the images in memory, or the machine.
    """

    needs_gradients: ClassVar[bool] = False
    rectified: ClassVar[bool] = False

    def __init__(
        self, model: nn.Module, target_layer: TargetLayer = None, *, variant: Literal["paper", "pgc"] = "paper"
    ) -> None:
        super().__init__(model, target_layer)
        self.variant = variant

    def features(self, evidence: Evidence, layer: str) -> Tensor:
        """M on the grid, B×K×h×w."""
        raise NotImplementedError(f"{type(self).__name__} must define features(evidence, layer)")

    def project(self, cells: Tensor) -> Tensor:
        """Where each of the cells (B×hw×K) lies along the first component, B×hw."""
        return _projection_of_pgc(cells) if self.variant == "pgc" else first_projection(cells)

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        if self.needs_gradients and self.named_layer not in evidence.gradients:
            raise ValueError(f"{type(self).__name__} needs evidence with gradients at {self.layer!r}")
        features = self.features(evidence, self.named_layer)
        return self.project(features.flatten(2).mT).view(len(features), *features.shape[2:])

    def contributions(self, evidence: Evidence) -> Tensor:
        """What each channel adds to the map's sum, v_k Σ_i M_ik (B×K), for the sensitivity axiom; 0 with
        `variant="pgc"`, whose columns sum to 0."""
        cells = self.features(evidence, self.named_layer).flatten(2).mT
        cells = _centred(cells) if self.variant == "pgc" else cells
        projected = first_projection(cells.double())[..., None]
        size = projected.square().sum(1)  # σ₁², and Mᵀ(M v₁) = σ₁² v₁
        v = (cells.double().mT @ projected)[..., 0] / torch.where(size > 0, size, 1)
        return v * cells.sum(1)


class EigenCAM(SingularMap):
    """M = A: the activations alone, the same for every class (Muhammad and Yeasin 2020).

    Not centred, as in the paper, which has no ReLU either.
    """

    name = "eigencam"
    class_dependent: ClassVar[bool] = False

    def features(self, evidence: Evidence, layer: str) -> Tensor:
        return evidence.activations[layer]


class EigenGradCAM(SingularMap):
    """M = g ⊙ A: EigenCAM of what each activation adds to the class's logit, signed.

    It has no paper. It comes from pytorch-grad-cam, which centres M's columns; here they are not centred, like
    EigenCAM's.
    """

    name = "eigengradcam"
    needs_gradients: ClassVar[bool] = True

    def features(self, evidence: Evidence, layer: str) -> Tensor:
        return evidence.gradients[layer] * evidence.activations[layer]


class KPCACAM(EigenCAM):
    """√λ₁ v₁ of the centred kernel matrix between cells, the same for every class (Karmani et al. 2024).

    With x_i the activations of cell i, each channel's mean subtracted, K_ij = tanh(γ x_i·x_j + 1) and J = I − 1/hw, λ₁
    and v₁ are the greatest eigenvalue of J K J and its vector. γ = `gamma`; None is one over the number of channels.
    The sign is EigenCAM's: ⟨v₁, Σ_k A_k⟩ ≥ 0. The kernel is not positive definite: if λ₁ ≤ 0, or if all cells are
    alike, the map is zero. The matrix has (hw)² entries, so use deep layers.
    """

    name = "kpca-cam"
    contributions = None  # type: ignore[assignment]  # a kernel of cells has no share for a channel

    def __init__(self, model: nn.Module, target_layer: TargetLayer = None, *, gamma: Positive | None = None) -> None:
        super().__init__(model, target_layer)
        self.gamma = gamma

    def project(self, cells: Tensor) -> Tensor:
        x = _centred(cells.double())  # tanh flattens what lies near 1
        kernel = (x @ x.mT * (self.gamma or 1 / cells.shape[2]) + 1).tanh()
        values, vectors = torch.linalg.eigh(_centred(_centred(kernel).mT))  # eigenvalues rise
        first = values[:, -1:]
        first = torch.where(first > cells.shape[1] * torch.finfo(first.dtype).eps, first, 0)  # K's entries are below 1
        projected = vectors[..., -1] * first.sqrt()
        return directed(projected, cells).to(cells.dtype)


def _centred(rows: Tensor) -> Tensor:
    """The matrices with every column's mean subtracted (B×n×K)."""
    return rows - rows.mean(1, keepdim=True)


def _projection_of_pgc(cells: Tensor) -> Tensor:
    """Where the rows of B centred matrices n×K lie along the first row of numpy's Vᵀ (B×n).

    It takes the full decomposition, as the library does: the thin one goes another way through LAPACK, and its signs
    may differ.
    """
    found = []
    for matrix in cells.cpu().numpy():
        centred = matrix - matrix.mean(0)
        found.append(centred @ np.linalg.svd(centred, full_matrices=True)[2][0])
    return torch.from_numpy(np.stack(found)).to(cells)


def first_projection(matrices: Tensor) -> Tensor:
    """M v₁ for each of B matrices n×K, with Σ_k v_k ≥ 0 (B×n).

    From the eigenvectors of M Mᵀ or MᵀM, whichever is smaller: Mᵀu = σv and Mv = σu. Each matrix is scaled to a largest
    entry of 1 before it is squared, so that small gradients do not vanish. Squares are computed in double precision: in
    single precision their decomposition may fail, or give NaN, if one eigenvalue dwarfs the others.
    """
    if matrices.dtype != torch.float64:
        return first_projection(matrices.double()).to(matrices.dtype)
    size = matrices.abs().amax((1, 2), keepdim=True)
    unit = matrices / torch.where(size > 0, size, torch.ones_like(size))
    if unit.shape[1] <= unit.shape[2]:
        squares, vectors = torch.linalg.eigh(unit @ unit.mT)  # eigenvalues rise: the last is σ₁²
        projected = vectors[..., -1] * squares[..., -1:].clamp(min=0).sqrt()
    else:
        projected = (unit @ torch.linalg.eigh(unit.mT @ unit).eigenvectors[..., -1:])[..., 0]
    return directed(projected, unit) * size[..., 0]


def directed(projected: Tensor, cells: Tensor) -> Tensor:
    """A map or its negative (B×n): ⟨map, Σ_k M_k⟩ ≥ 0, or, if that is mere rounding, its entry of greatest size ≥ 0."""
    towards = (projected * cells.sum(2)).sum(1, keepdim=True)
    size = (projected.abs() * cells.abs().sum(2)).sum(1, keepdim=True)
    greatest = projected.gather(1, projected.abs().argmax(1, keepdim=True))
    towards = torch.where(towards.abs() > 1e-6 * size, towards, greatest)
    return torch.where(towards < 0, -projected, projected)
