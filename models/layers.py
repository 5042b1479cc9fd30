"""What a network's layers put out, and which of them a class activation map is made from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from camfaith.models.capture import LayerError, evaluating
from camfaith.models.classifier import Classifier

# A pooled or dropped-out output shows no activations of its own: VGG's adaptive pooling stretches a 3×3 grid to 7×7.
_PASSIVE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.Dropout, nn.Dropout2d, nn.Identity)


@dataclass(frozen=True)
class Layer:
    """A module that ran: its dotted name, its kind, and the shape of its output without the batch axis."""

    name: str
    kind: str
    shape: tuple[int, ...]
    passive: bool

    @property
    def spatial(self) -> bool:
        return len(self.shape) == 3 and self.shape[1] * self.shape[2] > 1


def survey(classifier: Classifier, images: Tensor) -> list[Layer]:
    """Every layer in the order in which it finished, from one forward of the first image."""
    seen: list[Layer] = []
    handles = []
    with torch.inference_mode(), evaluating(classifier.network):
        try:
            for name, module in classifier.network.named_modules():
                if not name:
                    continue

                def note(module: nn.Module, _inputs: object, output: object, name: str = name) -> None:
                    if isinstance(output, Tensor):
                        kind, shape = type(module).__name__, tuple(output.shape[1:])
                        seen.append(Layer(name, kind, shape, isinstance(module, _PASSIVE)))

                handles.append(module.register_forward_hook(note))
            classifier.logits(classifier.place(images)[:1].contiguous())
        finally:
            for handle in handles:
                handle.remove()
    return seen


def last_spatial_layer(layers: list[Layer]) -> str:
    """The name of the last layer with a spatial output that is more than pooling; `LayerError` where there is none, or
    where tokens come after it: a vision transformer's patch embedding is spatial, but shows nothing of the class."""
    for layer in reversed(layers):
        if len(layer.shape) == 2:
            raise LayerError(
                f"layer {layer.name!r} gives tokens (B×{layer.shape[0]}×{layer.shape[1]}), so no last layer with a "
                "spatial output can be found; name the target layer yourself"
            )
        if layer.spatial and not layer.passive:
            return layer.name
    raise LayerError(
        "found no layer with a spatial output (B×K×h×w, more than one cell); name the target layer yourself"
    )


def target_layer(classifier: Classifier, images: Tensor) -> str:
    """The classifier's own `layer`, else the last layer with a spatial output."""
    return classifier.layer or last_spatial_layer(survey(classifier, images))
