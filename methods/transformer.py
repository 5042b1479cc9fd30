"""Maps from the attention of a vision transformer: one value per patch, none for the class token.

A_l are the attention matrices of layer l: heads × T×T; row i is what token i takes from each of the T tokens. Both
methods raise `NotApplicable` for a network without attention, with attention within windows (Swin, MaxViT) or in code
of its own, and for blocks that do not follow one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from camfaith.methods.base import Calls, Method, TargetLayer
from camfaith.models.capture import Evidence, evaluating, single
from camfaith.models.classifier import Classifier, Targets
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.transformer import Transformer, TransformerBlock, depth, observe
from camfaith.models.settings import Count
from camfaith.models.speed.setup import batch_size

Layers = Sequence[tuple[TransformerBlock, Tensor]]
"""Blocks, each with its attention matrices."""


class AttentionRollout(Method):
    """The class token's row of Â_L ⋯ Â_2 Â_1, over the patches, with Â_l = ½ mean_heads(A_l) + ½ I, in which I stands
    for the residual branch (Abnar and Zuidema 2020).

    Not negative, and the same for every class. The row is that of the tokens on which the score depends behind the last
    layer: the class token; the mean of it and a distillation token; the mean of all patches if they are pooled, and of
    the class token too, with equal weights, if the head reads both.
    """

    name = "rollout"
    needs_layer: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False
    class_dependent: ClassVar[bool] = False

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        means: list[Tensor] = []
        seen = observe(
            classifier, evidence.images, lambda attention: means.append(_by_image(attention, len(evidence)).mean(1))
        )
        rolled = _read(seen, evidence.targets)
        for mean in reversed(means):
            rolled = (rolled @ mean + rolled) / 2
        return seen.on_grid(rolled[:, 0])

    def cost(self, image: Tensor) -> Calls:
        return Calls(forwards=3, backwards=1)


class LeGrad(Method):
    """The mean over layers l, heads and all T queries i of ReLU(∂s_l/∂A_l,i), over the patches; s_l is the logit that
    the head gives the class for the mean of the T tokens behind layer l (Bousselham et al. 2024).

    Not negative. `layers` counts from the last; None takes all (the authors' code takes two unless told otherwise). The
    min-max normalisation is a display step here. The forward for the s_l skips the layers, and is cheap. A network of a
    single layer does not show whether it ends before or behind the head's norm: `NotApplicable`.
    """

    name = "legrad"
    needs_layer: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False

    def __init__(self, model: nn.Module, target_layer: TargetLayer = None, *, layers: Count | None = None) -> None:
        super().__init__(model, target_layer)
        self.counted = layers

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        return self._maps(evidence.images, evidence.targets, classifier)

    def _asked(self, images: Tensor, class_idx: Targets) -> Tensor:
        return self._maps(images, class_idx, self.classifier)

    def _maps(self, images: Tensor, class_idx: Targets, classifier: Classifier) -> Tensor:
        attention: list[Tensor] = []
        seen = observe(classifier, images, attention.append, graph=True)
        if len(attention) < 2:
            raise NotApplicable(
                f"expected two blocks or more, each ending where the next begins; {classifier.name} has one: "
                "use rollout, or a gradient CAM"
            )
        targets, first = classifier.targets(class_idx, seen.logits), -(self.counted or 0)
        together = max(1, batch_size(images) // len(targets))
        with torch.inference_mode(False), torch.enable_grad(), evaluating(classifier.network):
            layers = list(zip(seen.blocks[first:], attention[first:], strict=True))
            some = [layers[place : place + together] for place in range(0, len(layers), together)]
            maps = torch.cat([self._sensitivities(seen, part, targets) for part in some])
        return seen.on_grid(maps.mean(0))

    @staticmethod
    def _sensitivities(seen: Transformer, layers: Layers, targets: Tensor) -> Tensor:
        """What each of these layers adds to the map (L×B×T); one forward gives the scores of all."""
        outputs = [block.output.detach().requires_grad_() for block, _ in layers]
        logits = seen.tail(torch.cat([output.mean(1, keepdim=True).expand_as(output) for output in outputs]))
        scores = logits.gather(1, targets.repeat(len(layers))[:, None])
        shares = []
        for (block, matrices), gradient in zip(layers, torch.autograd.grad(scores.sum(), outputs), strict=True):
            (sensitivity,) = torch.autograd.grad(block.output, matrices, gradient)
            shares.append(_by_image(sensitivity, len(targets)).clamp(min=0).mean((1, 2)))
        return torch.stack(shares)

    def cost(self, image: Tensor) -> Calls:
        blocks = depth(self.classifier, image)
        scores = min(self.counted or blocks, blocks)
        return Calls(forwards=2 + scores if scores else 1, backwards=scores)


def _by_image(matrices: Tensor, images: int) -> Tensor:
    """B×heads×T×T, whichever of B and heads share an axis."""
    return single(matrices).reshape(images, -1, *matrices.shape[-2:])


def _read(seen: Transformer, targets: Tensor) -> Tensor:
    """The tokens behind the last layer on which the score depends, as rows that sum to one (B×1×T)."""
    with torch.inference_mode(False), torch.enable_grad(), evaluating(seen.classifier.network):
        tokens = seen.blocks[-1].output.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(seen.tail(tokens).gather(1, targets[:, None]).sum(), tokens)
    read = single((gradient != 0).any(2).to(gradient.dtype))[:, None]
    if not bool(read.any(2).all()):
        raise NotApplicable("the score depends on no token behind the last layer (a head of zeros, untrained?)")
    return read / read.sum(2, keepdim=True)
