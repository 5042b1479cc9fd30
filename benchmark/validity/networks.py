"""Networks whose truth is known by construction: what each cell of an image adds to the class's logit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

IMAGES, SIDE = 16, 56
"""So many images of so many pixels a side for each network."""
DARK, TOTAL = 0.5, 4.0
"""A colour that is no brighter is no evidence; an image's cells add up to this, without their signs, on average."""
LAYER = "pool"

Floats = NDArray[np.float64]


class Additive(nn.Module):
    """Two classes with the logits z and −z, where z = Σ_k Σ_u w_ku A_ku adds up what `pool` shows in its cells u: means
    of rectified answers of filters. A black image has z = 0."""

    def __init__(self, filters: Tensor, threshold: float, cell: int, weights: Tensor) -> None:
        super().__init__()
        channels, _, width, _ = filters.shape
        edges: Literal["replicate", "zeros"] = "replicate" if width > 1 else "zeros"
        self.conv = nn.Conv2d(3, channels, width, padding=width // 2, padding_mode=edges)
        self.relu, self.pool, self.flat = nn.ReLU(), nn.AvgPool2d(cell), nn.Flatten()
        self.head = nn.Linear(weights.numel(), 2, bias=False)
        self.load_state_dict(
            {
                "conv.weight": filters,
                "conv.bias": torch.full((channels,), -threshold),
                "head.weight": torch.stack([weights.flatten(), -weights.flatten()]),
            }
        )

    def cells(self, images: Tensor) -> Tensor:
        """A (B×K×h×w)."""
        found: Tensor = self.pool(self.relu(self.conv(images)))
        return found

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.flat(self.cells(images)))
        return logits

    @torch.no_grad()
    def worths(self, images: Tensor, targets: Tensor) -> Tensor:
        """What each cell adds to its image's class, Σ_k w_ku A_ku (B×h×w): the true map."""
        A = self.cells(images)
        return (A * self.head.weight[targets].view_as(A)).sum(1)


@dataclass(frozen=True)
class Known:
    """A network, images of both classes in turn, a seed each, and what a person would mark in them (B×H×W, bool; None
    where there is nothing to mark)."""

    name: str
    network: Additive
    images: Tensor
    targets: Tensor
    seeds: Tensor
    masks: Tensor | None

    @cached_property
    def truth(self) -> Tensor:
        """The true maps (B×h×w)."""
        return self.network.worths(self.images, self.targets)


def known_networks() -> list[Known]:
    """Every network, in the order of the table, each the same whenever it is made."""
    return [build() for build in NETWORKS.values()]


def planted() -> Known:
    """Global pooling before a linear head; a few bright patches for the class, and some against it. A person marks the
    patches for it."""
    field, targets = _for_the_class(_fields(14, "planted", least=1.0))
    return _colours("planted", field, targets, np.ones((14, 14)), field > 0)


def mosaic() -> Known:
    """Two textures side by side, upright and level stripes of equal colours: one speaks for the class, one against it.
    A person marks the class's."""
    field, targets = _for_the_class(_fields(7, "mosaic"))
    for_first = _enlarged(_by_class(field, targets) > 0)
    upright = np.tile(np.where(np.arange(SIDE) // 2 % 2, 0.8, 0.2), (SIDE, 1))
    stripes = np.where(for_first, upright, upright.T)
    slope = torch.tensor([[0.0, 0, 0], [-1, 0, 1], [0, 0, 0]]) / 3
    filters = torch.stack([slope, -slope, slope.T, -slope.T])[:, None].expand(-1, 3, -1, -1)
    signs = torch.tensor([1.0, 1, -1, -1])[:, None, None].expand(-1, 7, 7)
    images = np.repeat(stripes[:, None], 3, 1)
    return _known("mosaic", filters, 0.0, 8, signs, images, targets, field > 0)


def region() -> Known:
    """A network that reads one fixed window and nothing else, with patches everywhere. A person marks all of those that
    would be for the class, most of which the network never sees."""
    window = np.zeros((14, 14))
    window[3:10, 4:11] = 1
    field, targets = _for_the_class(_fields(14, "region", least=0.6), window)
    return _colours("region", field, targets, window, field > 0)


def corner() -> Known:
    """A network that reads a tag in the corner and nothing else, with an object in the middle. A person marks the
    object."""
    tag, source = np.zeros((14, 14)), np.random.default_rng(_seed("corner"))
    tag[:4, :4] = 1
    rows, columns = np.mgrid[:14, :14]
    middles = source.uniform(7, 10, (2, IMAGES, 1, 1))
    objects = (rows - middles[0]) ** 2 + (columns - middles[1]) ** 2 < 9
    field = tag * source.uniform(0.2, 1, (IMAGES, 14, 14)) + objects * source.choice([-0.8, 0.8], (IMAGES, 1, 1))
    return _colours("corner", *_for_the_class(field, tag), tag, objects)


def grain(cell: int) -> Known:
    """A fixed weight for each cell, of as many pixels a side as the name says, on images whose evidence for and against
    the class changes from cell to cell. There is nothing to mark."""
    name, cells = f"grain-{cell}", SIDE // cell
    weights = np.random.default_rng(_seed(name)).uniform(0.5, 1.5, (cells, cells))
    field, targets = _for_the_class(_fields(cells, name), weights)
    return _colours(name, field, targets, weights, None)


NETWORKS: dict[str, Callable[[], Known]] = {
    "planted": planted,
    "mosaic": mosaic,
    "region": region,
    "corner": corner,
    "grain-1": partial(grain, 1),
    "grain-4": partial(grain, 4),
    "grain-8": partial(grain, 8),
}


def _seed(name: str) -> list[int]:
    return list(name.encode())


def _fields(cells: int, name: str, *, least: float = 0.0) -> Floats:
    """Noise that varies smoothly over a grid, from cell to cell and around its edges, with 0 where it is weaker than
    `least` deviations."""
    drawn = np.random.default_rng(_seed(name)).standard_normal((IMAGES, cells, cells))
    smooth = gaussian_filter(drawn, (0, 1, 1), mode="wrap")
    smooth = smooth / smooth.std((1, 2), keepdims=True) + 0.3
    field = np.where(np.abs(smooth) >= least, smooth, 0.0)
    found: Floats = field / np.abs(field).max((1, 2), keepdims=True)
    return found


def _for_the_class(field: Floats, weights: Floats | float = 1.0) -> tuple[Floats, Tensor]:
    """Fields that speak for their class all in all, within what the network weighs, and the classes: 0, 1, 0, 1, …"""
    return field * np.sign((weights * field).sum((1, 2), keepdims=True)), torch.arange(IMAGES) % 2


def _by_class(field: Floats, targets: Tensor) -> Floats:
    """What speaks for an image's class, as what speaks for class 0."""
    found: Floats = field * np.where(targets.numpy() == 0, 1.0, -1.0)[:, None, None]
    return found


def _enlarged(cells: NDArray[Any]) -> NDArray[Any]:
    return np.kron(cells, np.ones((1, SIDE // cells.shape[-2], SIDE // cells.shape[-1]), cells.dtype))


def _colours(name: str, field: Floats, targets: Tensor, weights: Floats, marked: NDArray[np.bool_] | None) -> Known:
    """Dark images in which evidence is bright: red for class 0, green for class 1. Black, the mean colour and blur take
    it away."""
    evidence = _enlarged(_by_class(field, targets))
    images = 0.3 * np.random.default_rng(_seed(name)).random((IMAGES, 3, SIDE, SIDE))
    for colour, bright in enumerate((evidence, -evidence)):
        images[:, colour] = np.where(bright > 0, DARK + (1 - DARK) * bright, images[:, colour])
    filters = torch.eye(3)[:2, :, None, None]
    signed = torch.from_numpy(np.stack([weights, -weights])).float()
    return _known(name, filters, DARK, SIDE // len(weights), signed, images, targets, marked)


def _known(
    name: str,
    filters: Tensor,
    threshold: float,
    cell: int,
    weights: Tensor,
    images: Floats,
    targets: Tensor,
    marked: NDArray[np.bool_] | None,
) -> Known:
    """With weights of such a size that the cells of an image add up to `TOTAL`, without their signs, on average."""
    pictures = torch.from_numpy(images).float()
    size = Additive(filters, threshold, cell, weights).worths(pictures, targets).abs().sum((1, 2)).mean()
    network = Additive(filters, threshold, cell, weights * (TOTAL / size)).eval()
    masks = None if marked is None else torch.from_numpy(_enlarged(marked))
    return Known(name, network, pictures, targets, torch.arange(IMAGES), masks)
