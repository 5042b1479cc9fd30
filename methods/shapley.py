"""Channels weighed by their Shapley values, approximated by the first two derivatives."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from camfaith.methods.base import Calls, Method, TargetLayer
from camfaith.models.capture import Evidence, ScoreFunction, target_logit
from camfaith.models.classifier import Classifier
from camfaith.models.heads import Head
from camfaith.models.inside.curvature import curvature

Utility = Literal["rest", "logit"]


class ShapleyCAM(Method):
    """Σ_k w_k A^k, w_k = mean_ij (g − ½ H·A)^k with g = ∂U/∂A and H = ∂²U/∂A² (Cai 2025).

    A ⊙ (g − ½ H·A) is each activation's Shapley value in the utility U, expanded to second order around A. U is the
    paper's residual softmax (ReST), S_c + ln p_c, p being the softmax of the logits, or what the head has in its place.

    `utility="logit"`: U = S_c, the default of pytorch-grad-cam 1.5. Behind ReLUs S_c is linear in A almost everywhere:
    there H = 0, and the map is GradCAM's.
    """

    name = "shapleycam"
    needs_gradients: ClassVar[bool] = False
    rectified: ClassVar[bool] = True

    def __init__(self, model: nn.Module, target_layer: TargetLayer = None, *, utility: Utility = "rest") -> None:
        super().__init__(model, target_layer)
        self.utility = utility

    def cost(self, image: Tensor) -> Calls:
        """H·A of S_c + ln p_c goes back from the logits once more, for the softmax; that of S_c starts behind them."""
        return Calls(forwards=1, backwards=2 if self.utility == "rest" else 1)

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        score: ScoreFunction = target_logit
        if self.utility == "rest":
            score = partial(residual_softmax, classifier.head)
        g, bend = curvature(classifier, evidence.images, evidence.targets, self.named_layer, score)
        weights = (g - bend / 2).mean((2, 3))
        return torch.einsum("bk,bkhw->bhw", weights, evidence.activations[self.named_layer])


def residual_softmax(head: Head, logits: Tensor, targets: Tensor) -> Tensor:
    """S_c + ln p_c, which tells classes apart as p_c does, and does not go flat as p_c nears 1."""
    return target_logit(logits, targets) + target_logit(head.log_probabilities(logits), targets)
