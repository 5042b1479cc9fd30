"""A network's own features of an image: what its last linear layer is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from camfaith.models.last_layer import is_linear
from camfaith.models.walk import every_module


class Penultimate:
    """The input of the linear layer, or 1×1 convolution, that runs last in a forward: B×D, in single precision.

    Of tokens or a plane it is the mean. A network without such a layer, or whose parts do not run as Python modules,
    has no features. Which layer runs last is found in the first forward that is watched, and held as long as the
    network lives.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._rows = 0
        self._seen: list[tuple[Tensor, str]] = []
        """The input that was seen last, channels first, and of which layer; one list for good, since compiled code
        keeps it."""
        self._parts: list[Tensor] = []

    @contextmanager
    def watched(self, rows: int = 0) -> Iterator[None]:
        """Looks at the forwards in the block: those of so many images, or those of `after`."""
        self._rows = rows
        self._seen.clear()
        layers = _last(self._network) or _linear(self._network)
        handles = [layer.register_forward_pre_hook(self._hook(name, layer)) for name, layer in layers.items()]
        try:
            yield
        finally:
            if self._seen:
                _FOUND[self._network] = self._seen[0][1]
            self._seen.clear()
            for handle in handles:
                handle.remove()

    def after(self, forward: Callable[[Tensor], Tensor], padded: int = 0) -> Callable[[Tensor], Tensor]:
        """A network's `forward` whose features are `gathered`. Batches that it fills up with copies have `padded`
        images."""

        def call(images: Tensor) -> Tensor:
            self._rows = max(len(images), padded)
            self._seen.clear()
            logits = forward(images)
            self._parts.append(self.features(len(images), logits.device))
            return logits

        return call

    def gathered(self, rows: int) -> Tensor:
        """The features of the last so many images (B×D; B×0 where there are none)."""
        found = torch.cat(self._parts)[-rows:]
        self._parts.clear()
        return found

    def features(self, rows: int, device: torch.device) -> Tensor:
        """What was seen last of so many images (B×D; B×0 where there is nothing)."""
        if not self._seen:
            return torch.empty(rows, 0, device=device)
        # A copy: a network may give the same memory again.
        found = self._seen[0][0][:rows].detach().to(torch.float32, copy=True)
        return found if found.ndim == 2 else found.flatten(2).mean(2)

    def _hook(self, name: str, layer: nn.Module) -> Callable[..., None]:
        # A function of its own: copies of the network keep it, and compiled code sees through it.
        seen, spatial = self._seen, isinstance(layer, nn.Conv2d)

        def look(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            given = inputs[0] if inputs else None
            if isinstance(given, Tensor) and given.ndim > 1 and len(given) == self._rows:
                seen[:] = [(given if spatial else given.movedim(-1, 1), name)]

        return look


_FOUND: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
"""The layer that runs last in each network."""


def _last(network: nn.Module) -> dict[str, nn.Module]:
    """That layer, where it is known and still there: to keep what others are given would take memory and time."""
    try:
        name = _FOUND[network]
        return {name: network.get_submodule(name)}
    except (KeyError, AttributeError):
        return {}


def _linear(network: nn.Module) -> dict[str, nn.Module]:
    """The linear layers and 1×1 convolutions, without those of torch's own encoder, which hooks would slow down."""
    encoders = [module for module in every_module(network) if isinstance(module, nn.TransformerEncoderLayer)]
    inside = {part for encoder in encoders for part in encoder.modules()}
    return {name: module for name, module in network.named_modules() if module not in inside and is_linear(module)}


def distance(features: Tensor, own: Tensor | None) -> Tensor:
    """How far features φ' (B×D) are from an image's own φ: ‖φ' − φ‖ / ‖φ‖ (B), 0 for the image itself, 1 for features
    of zeros. NaN where there are none, or φ is 0."""
    if own is None or features.shape[1] == 0 or features.shape != own.shape:
        return torch.full((len(features),), torch.nan, dtype=torch.float64, device=features.device)
    own = own.double()
    size = own.norm(dim=1)
    apart: Tensor = (features.double() - own).norm(dim=1) / size.where(size > 0, torch.nan)
    return apart
