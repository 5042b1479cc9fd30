"""Whether the tokens of a layer keep to the places that their number suggests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from camfaith.models.capture import hooked, inferring
from camfaith.models.tokens import GridFinder

_MORE = 1.2  # times: cells in their place move by that and more, tokens that have none by a few per cent
_known: WeakKeyDictionary[nn.Module, set[tuple[str, tuple[int, ...]]]] = WeakKeyDictionary()


def in_place(network: nn.Module, forward: Callable[[Tensor], object], image: Tensor, layers: Iterable[str]) -> set[str]:
    """Those layers whose cells change more where the image (1×3×H×W) does: in its left half, its right one, its upper
    and its lower one.

    It takes one forward of five images, where it was not found of these layers before.
    """
    size, known = tuple(image.shape[1:]), _known.setdefault(network, set())
    unknown = [layer for layer in layers if (layer, size) not in known]
    if unknown:
        height, width = image.shape[2] // 2, image.shape[3] // 2
        noise = torch.rand(size, generator=torch.Generator().manual_seed(0)).to(image)
        images = image.detach().repeat(5, 1, 1, 1)
        images[1, :, :, :width], images[2, :, :, width:] = noise[:, :, :width], noise[:, :, width:]
        images[3, :, :height], images[4, :, height:] = noise[:, :height], noise[:, height:]

        def note(layer: str, output: Tensor, finder: GridFinder) -> Tensor:
            if grid := finder.grid(output):
                cells = grid.of(output)
                left, right, upper, lower = (cells[1:] - cells[:1]).float().norm(dim=1)
                halves = left.mT, right.mT.flip(0), upper, lower.flip(0)
                if all(len(rows) == 1 or _first(rows) > _MORE * _first(rows.flip(0)) for rows in halves):
                    known.add((layer, size))
            return output

        with inferring(network), hooked(network, {layer: partial(note, layer) for layer in unknown}):
            forward(images)
    return {layer for layer in layers if (layer, size) in known}


def _first(rows: Tensor) -> float:
    """The mean of the first half of the rows."""
    return float(rows[: len(rows) // 2].mean())
