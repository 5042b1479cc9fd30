"""Maps of what the class loses when a layer's channels are switched off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from camfaith.methods.base import Calls, Method, TargetLayer
from camfaith.methods.condition import CHANGE, counted
from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.ablation import TAIL_BATCH, Tail, ablate_channels, tail
from camfaith.models.speed.batches import halving
from camfaith.models.speed.setup import scoring_batch

Variant = Literal["paper", "pgc"]


class AblationCAM(Method):
    """Σ_k w_k A^k, w_k = (y − y_k)/|y|, y the class's logit and y_k that with channel k at zero (Desai and Ramaswamy
    2020).

    The paper divides by y and assumes y > 0. A negative y would turn every sign, hence |y|; if y = 0, nothing is
    divided. It divides all weights alike, so a y that is mostly rounding spoils the scale of the raw map, not what it
    shows; `diagnostics` counts such images. If the network behind the layer can run alone, only that part runs for
    every channel (`camfaith.models.inside.ablation`).

    `variant="pgc"` divides by y. If the image's smallest activation m is not 0, as after a SiLU, it sets channel k to m
    − 1e7·(k mod 32 + 1), not to zero: pytorch-grad-cam 1.5 takes m anew from each batch of 32 that it writes into.
    Raises `NotApplicable` if a class token, or another that is no patch, goes through the layer, because the library
    switches the channel off there too, and if float16 cannot hold −1e7.
    """

    name = "ablationcam"
    exempt: ClassVar[Mapping[str, str]] = {"reused-layer": "a channel is switched off in every call of its layer"}
    needs_gradients: ClassVar[bool] = False
    rectified: ClassVar[bool] = True

    def __init__(self, model: nn.Module, target_layer: TargetLayer = None, *, variant: Variant = "paper") -> None:
        super().__init__(model, target_layer)
        self.variant = variant

    def cost(self, image: Tensor) -> Calls:
        return Calls(forwards=tail(self.classifier, self.named_layer, image).forwards(TAIL_BATCH))

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        activations = evidence.activations[self.named_layer]
        y = evidence.logits.gather(1, evidence.targets[:, None])
        rows = zip(torch.split(evidence.images, 1), activations, evidence.targets.tolist(), strict=True)
        ablated = torch.stack([self._logits(classifier, image, a)[:-1, target] for image, a, target in rows])
        size = y if self.variant == "pgc" else torch.where(y == 0, 1, y.abs())
        return torch.einsum("bk,bkhw->bhw", (y - ablated) / size, activations)

    def diagnostics(self, evidence: Evidence) -> dict[str, Tensor]:
        """Per image: how far y, and so every weight, moves if the logits change by 1e-4 of the greatest of them
        (`weights_move`: 1e-4·max_c |S_c| / |y|, 0 where y = 0 divides nothing), and whether that is more than 1 %
        (`unstable`)."""
        y = evidence.logits.gather(1, evidence.targets[:, None])[:, 0].abs()
        move = CHANGE * torch.where(y == 0, 0, evidence.logits.abs().amax(1) / torch.where(y == 0, 1, y))
        spoilt = "the scale and the sign of some maps are" if self.variant == "pgc" else "the scale of some raw maps is"
        return counted(move, f"{self.name} at {self.layer}", f"{spoilt} rounding")

    def _logits(self, classifier: Classifier, image: Tensor, activations: Tensor) -> Tensor:
        found = tail(classifier, self.named_layer, image)
        values = self._of_pgc(found, activations, image.dtype) if self.variant == "pgc" else None
        return halving(
            TAIL_BATCH if found.alone else scoring_batch(image),
            lambda batch: ablate_channels(classifier, self.named_layer, image, batch, values)[0],
        )

    def _of_pgc(self, found: Tail, activations: Tensor, dtype: torch.dtype) -> Tensor | None:
        """What each channel is set to; None for zero."""
        if found.prefix:
            raise NotApplicable(
                f"variant 'pgc' of {self.name} cannot be had at {self.layer!r}: pytorch-grad-cam switches a channel "
                f"off in every token, and {found.prefix} of them there are no patches; take variant='paper'"
            )
        if bool((lowest := activations.min()) == 0):
            return None
        if dtype == torch.float16:
            raise NotApplicable(
                f"variant 'pgc' of {self.name} sets the channels of {self.layer!r} to −1e7 and less, which float16 "
                "does not hold; give it the network in single precision, as network.float(), or take variant='paper'"
            )
        return lowest - 1e7 * (torch.arange(len(activations)).to(activations) % 32 + 1)
