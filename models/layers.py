"""The layers of a network, and the one that a class activation map is made from."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from camfaith.models.capture import Recorder, evaluating, hooked, inferring
from camfaith.models.classifier import Classifier
from camfaith.models.errors import LayerError
from camfaith.models.places import in_place
from camfaith.models.tokens import Grid, watched
from camfaith.models.walk import is_scripted, without_wrappers

# Pooling and dropout have no activations of their own: VGG's adaptive pooling stretches a 3×3 grid to 7×7. Linear
# layers inside a transformer's block make queries, keys and values.
_PASSIVE = (
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool1d, nn.AvgPool2d,
    nn.Dropout, nn.Dropout2d, nn.Identity, nn.Linear
)  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A module that ran: its dotted name, its kind, and the shape of its output without the batch axis.

    `grid` says where the output's cells lie on the image; None if it has none. `reached` is False for a layer of tokens
    if the predicted class's score depends on none of its patches, or if another call of it gave an output without a
    grid. If a layer runs more than once, the last call counts. `of_images` is False if the first axis is not the
    images', as where windows lie side by side.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    passive: bool
    grid: Grid | None = None
    reached: bool = True
    of_images: bool = True

    @property
    def cells(self) -> int:
        return self.grid.cells if self.grid else 0

    @property
    def spatial(self) -> bool:
        return self.cells > 1

    @property
    def tokens(self) -> bool:
        return self.grid is not None and self.grid.form == "B×T×K"


def survey(classifier: Classifier, images: Tensor) -> list[Layer]:
    """Every layer in the order in which it finished, from one forward of the first image.

    Where there are tokens, a second forward and a backward tell which of their layers the score reaches. Where some
    seem to be merged from cells, one of five images tells whether they keep to their places.
    """
    seen: list[Layer] = []
    handles = []
    image = classifier.place(images)[:1].contiguous()
    with inferring(classifier.network), watched(classifier.network) as finder:
        try:
            for name, module in classifier.network.named_modules():
                if not name or is_scripted(module) or "_orig_mod" in module._modules:
                    continue

                def note(
                    module: nn.Module, _inputs: object, output: object, name: str = without_wrappers(name)
                ) -> None:
                    if isinstance(output, Tensor):
                        kind, passive = type(module).__name__, isinstance(module, _PASSIVE)
                        layer = Layer(name, kind, tuple(output.shape[1:]), passive, finder.grid(output))
                        seen.append(replace(layer, of_images=len(output.shape) > 0 and len(output) == len(image)))

                handles.append(module.register_forward_hook(note))
            classifier.logits(image)
        finally:
            for handle in handles:
                handle.remove()
    merged = [layer.name for layer in seen if layer.grid and layer.grid.merged]
    placed = in_place(classifier.network, classifier.logits, image, dict.fromkeys(merged))
    seen = [replace(a, grid=None) if a.name in merged and a.name not in placed else a for a in seen]
    return _with_reach(classifier, image, seen)


def _with_reach(classifier: Classifier, image: Tensor, layers: Sequence[Layer]) -> list[Layer]:
    rows = {layer.shape[0] for layer in layers if layer.tokens}
    if not rows:
        return list(layers)
    # Four axes with one row per token are attention from token to token, or its heads: no grid.
    found = [replace(a, grid=None) if len(a.shape) == 3 and a.shape[1] in rows else a for a in layers]
    last = {layer.name: layer for layer in found}
    placeless = {layer.name for layer in layers if layer.grid is None}
    reached = _reached(classifier, image, [name for name in last if last[name].tokens and name not in placeless])
    return [replace(layer, reached=layer.name in reached) if layer.tokens else layer for layer in found]


def _reached(classifier: Classifier, image: Tensor, names: Sequence[str]) -> set[str]:
    """The layers where the gradient of the greatest logit is not zero in some cell."""
    record = Recorder(names, gradients=True)
    with torch.inference_mode(False), torch.enable_grad(), evaluating(classifier.network):
        with hooked(classifier.network, record.hooks, record.begin), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it may warn of a layer that runs twice, which matters to maps alone
            score = classifier.logits(image.clone()).amax(1).sum()
        if not score.requires_grad:
            return set()
        found = torch.autograd.grad(score, list(record.outputs.values()), allow_unused=True)
    gradients = {name: g for name, g in zip(record.outputs, found, strict=True) if g is not None}
    return {name for name, cells in record.cells(gradients).items() if bool(cells.any())}


def last_spatial_layer(layers: Sequence[Layer]) -> str:
    """The name of the last layer that has a spatial output, whose cells the score reads, and that is more than pooling
    or a linear map.

    Behind the last attention of a vision transformer with a class token the score reads no patch, so the last block's
    first norm is found. A convolution before tokens that the score does not reach (a position encoding inside a block,
    or the patch embedding) shows nothing of the class. Neither do the last tokens whose place is known, if others come
    after them. Raises `LayerError` if nothing else is left.
    """
    after = None
    for layer in reversed(layers):
        if layer.passive or not layer.of_images:
            continue
        if len(layer.shape) == 2 and min(layer.shape) > 1 and not layer.tokens:
            raise LayerError(
                f"layer {layer.name!r} gives rows (B×{layer.shape[0]}×{layer.shape[1]}), no convolution's cells, whole "
                "or merged, in their places, so no target layer is found; name an earlier one that gives B×K×h×w, or "
                "take an attribution of pixels"
            )
        if layer.tokens and not layer.reached:
            after = layer
        elif layer.spatial and (layer.tokens or not after):
            return layer.name
    if after:
        raise LayerError(
            f"layer {after.name!r} gives tokens, and the score depends on no patch of any layer of tokens B×T×K (a "
            "head of zeros, untrained? or are they T×B×K?), so no target layer is found; load weights, or name the "
            "target layer yourself"
        )
    raise LayerError(
        "found no layer with a spatial output (B×K×h×w, more than one cell; TorchScript shows none); name the target "
        "layer yourself, or take a method that reads none, as rise"
    )


def target_layer(classifier: Classifier, images: Tensor) -> str:
    """The classifier's own `layer`, else the last layer with a spatial output that the score reads."""
    return classifier.layer or last_spatial_layer(survey(classifier, images))
