"""The first class activation map: the rows of a linear head behind global average pooling."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from camfaith.methods.gradient import GradientCAM
from camfaith.models.capture import Evidence
from camfaith.models.errors import NotApplicable


class CAM(GradientCAM):
    """Σ_k w_ck A^k, w_c being the class's row of the linear layer behind global average pooling (Zhou et al. 2016).

    Signed. Raises `NotApplicable` if the head is not pooling → linear; the test is whether W·mean(A) + b = logits.
    """

    name = "cam"
    needs_gradients: ClassVar[bool] = False
    rectified: ClassVar[bool] = False

    def _weighted(self, evidence: Evidence) -> Tensor:
        activations = evidence.activations[str(self.layer)]
        rows = self._head(activations, evidence.logits)[evidence.targets]
        return rows[:, :, None, None] * activations

    def _head(self, activations: Tensor, logits: Tensor) -> Tensor:
        pooled = activations.mean((2, 3))
        head, shape = self.classifier.head, (logits.shape[1], pooled.shape[1])
        rounding = max(1e-3, 8 * torch.finfo(self.classifier.dtype).eps)
        tolerance = rounding * logits.abs().amax(1, keepdim=True) + 1e-6
        for module in self.classifier.network.modules():
            if not isinstance(module, nn.Linear):
                continue
            weight = head.rows(module.weight.detach().to(pooled))
            if tuple(weight.shape) == shape:
                bias = None if module.bias is None else head.rows(module.bias.detach().to(pooled)[:, None])[:, 0]
                predicted = nn.functional.linear(pooled, weight, bias)
                if bool(((predicted - logits).abs() <= tolerance).all()):
                    return weight
        raise NotApplicable(
            f"CAM needs global average pooling and one linear layer behind {self.layer!r}: no linear layer of "
            f"{type(self.classifier.network).__name__} gives the logits from the layer's mean activations; "
            "use GradCAM (equal to CAM where CAM exists), or name the last layer before the pooling"
        )
