"""Switching a layer's channels off, and running no more of the network for it than must run."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from camfaith.models.capture import grid_of, hooked, inferring
from camfaith.models.classifier import Classifier
from camfaith.models.tokens import GridFinder

TAIL_BATCH = 256
"""Activations that go through a tail alone at once."""


@dataclass(frozen=True)
class Tail:
    """The network behind a layer of so many `channels`. If it can run `alone`, it takes a batch of activations for one
    image. The first `prefix` tokens of the layer have no place on the image."""

    channels: int
    alone: bool
    prefix: int = 0

    def forwards(self, batch: int) -> int:
        """Images sent through the whole network to switch off each channel, and then all, in batches of `batch`."""
        return -(-(self.channels + 1) // batch) if self.alone else self.channels + 1


_known: WeakKeyDictionary[nn.Module, dict[tuple[str, tuple[int, ...]], Tail]] = WeakKeyDictionary()


def ablate_channels(
    classifier: Classifier, layer: str, image: Tensor, batch: int, values: Tensor | None = None
) -> tuple[Tensor, int, int]:
    """The logits of one image (1×3×H×W) with each channel of `layer` at zero, and last with all: (K+1)×C.

    With `values` (K) each channel is set to its own value instead. A class token keeps its channels: no map shows it.

    Also returns the number of images sent through the whole network, and of activations sent through the tail alone. If
    the tail can run alone, the layers up to `layer` run once for a whole batch of channels.
    """
    with inferring(classifier.network):
        known = tail(classifier, layer, image)
        channels, rows = known.channels, []
        gates = torch.ones(channels + 1, channels, dtype=image.dtype, device=image.device)
        gates[torch.arange(channels), torch.arange(channels)] = 0
        gates[-1] = 0
        forwards = passes = 0
        for start in range(0, channels + 1, batch):
            part = gates[start : start + batch]
            images = image if known.alone else image.expand(len(part), -1, -1, -1)
            rows.append(_gated(classifier, layer, images, part, values))
            forwards += 1 if known.alone else len(part)
            passes += len(part) if known.alone else 0
    return torch.cat(rows), forwards, passes


def tail(classifier: Classifier, layer: str, image: Tensor) -> Tail:
    """The tail behind `layer`, tried once per network, layer and image size with two or three forwards.

    If the image's logits are the same without any channel, as before a linear layer of zeros, nothing tells whether the
    tail may run alone: it does not, and the next call tries again.
    """
    known = _known.setdefault(classifier.network, {})
    key = (layer, tuple(image.shape[1:]))
    if key in known:
        return known[key]
    found, told = _try(classifier, layer, image[:1])
    if told:
        known[key] = found
    return found


def _try(classifier: Classifier, layer: str, image: Tensor) -> tuple[Tail, bool]:
    """The tail, and whether the image could tell if it may run alone."""
    seen: list[tuple[int, int]] = []

    def note(output: Tensor, finder: GridFinder) -> Tensor:
        grid = grid_of(layer, output, finder)
        seen.append((grid.of(output).shape[1], grid.prefix))
        return output

    with inferring(classifier.network):
        with hooked(classifier.network, {layer: note}):
            classifier(image)
        channels, prefix = seen[-1]
        gates = torch.ones(3, channels, dtype=image.dtype, device=image.device)
        gates[0, 0], gates[1] = 0, 0
        whole = _gated(classifier, layer, image.expand(3, -1, -1, -1), gates)
        try:
            alone = _gated(classifier, layer, image, gates)
        except torch.OutOfMemoryError:
            raise
        except Exception:
            return Tail(channels, False, prefix), True
    if alone.shape != whole.shape:
        return Tail(channels, False, prefix), True
    rounding = 1e-4 * float(whole.abs().max())
    told = float((whole[1] - whole[2]).abs().max()) > rounding
    return Tail(channels, told and torch.allclose(alone, whole, rtol=1e-4, atol=rounding), prefix), told


def _gated(classifier: Classifier, layer: str, images: Tensor, gates: Tensor, values: Tensor | None = None) -> Tensor:
    def gate(output: Tensor, finder: GridFinder) -> Tensor:
        grid = grid_of(layer, output, finder)
        kept = grid.of(output) * gates[:, :, None, None]
        if values is not None:
            kept = kept + ((1 - gates) * values)[:, :, None, None]
        return grid.into(output, kept.to(output.dtype))

    with hooked(classifier.network, {layer: gate}):
        result: Tensor = classifier(images)
    return result
