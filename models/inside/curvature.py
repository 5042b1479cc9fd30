"""The second derivative of a score in a layer's activations, along them; the matrix itself is never formed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from camfaith.models.capture import Recorder, ScoreFunction, evaluating, gradients_at, hooked, target_logit
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.walk import require_float


def curvature(
    classifier: Classifier, images: Tensor, targets: Tensor, layer: str, score: ScoreFunction = target_logit
) -> tuple[Tensor, Tensor]:
    """g = ∂s/∂A and H·A with H = ∂²s/∂A², both B×K×h×w, for the score s of each image's class.

    It takes one forward, one backward, and one more through that backward: H·A = ∂(Σ g·A')/∂A with A' = A held fixed.
    Where s is linear in A, as between the kinks of ReLUs, H·A = 0. The network stays as it was. Attention runs step by
    step: PyTorch's fused kernels can be differentiated only once. Raises `NotApplicable` if PyTorch lacks a second
    derivative, such as a hard sigmoid's.
    """
    require_float(classifier.network)
    stepwise = sdpa_kernel(SDPBackend.MATH)
    with torch.inference_mode(False), torch.enable_grad(), evaluating(classifier.network), stepwise:
        record = Recorder([layer], gradients=True)
        with hooked(classifier.network, record.hooks, record.begin):
            logits = classifier.logits(images.clone())
        record.require_all(classifier.network, lambda: classifier.logits(images.clone()))
        gradient = gradients_at(score(logits, targets.clone()), record.outputs, again=True)[layer]
        output, grid = record.outputs[layer], record.grids[layer]
        along = grid.into(torch.zeros_like(output), grid.of(output.detach()))
        product = _product(gradient, output, along) if gradient.requires_grad else None
        found = (gradient, torch.zeros_like(gradient) if product is None else product)
        g, bend = (record.cells({layer: each})[layer] for each in found)
        return g, bend


def _product(gradient: Tensor, output: Tensor, along: Tensor) -> Tensor | None:
    """H·A; None if the gradient does not depend on A."""
    try:
        return torch.autograd.grad(gradient, output, along, allow_unused=True)[0]
    except RuntimeError as error:
        if "derivative for" not in str(error):
            raise
        raise NotApplicable(
            f"the second derivative of a score cannot be taken here, since PyTorch lacks that of a part of the network "
            f"({error}); name a layer behind that part, or use a method of first derivatives, such as GradCAM"
        ) from error
