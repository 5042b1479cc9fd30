"""What an image is made of where a metric removes parts of it: cells of a grid, superpixels, or single pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from camfaith.metrics.probing.case import PerImage
from camfaith.models.settings import Few, from_table, settle_fields
from camfaith.models.superpixels import require, superpixels


class Features(PerImage):
    """A frozen value that gives the number of each pixel's feature (H×W, from 0, none left out) in an image."""

    name: ClassVar[str]

    def most(self, pixels: int) -> int:
        """How many features an image of so many pixels has, or the most, where the image decides."""
        raise NotImplementedError


@dataclass(frozen=True)
class Cells(Features):
    """`grid` × `grid` cells of equal size, to a pixel, whatever the grids of the maps."""

    name: ClassVar[str] = "cells"
    grid: Few = 7

    def __post_init__(self) -> None:
        settle_fields(self)

    def most(self, pixels: int) -> int:
        return min(self.grid**2, pixels)

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        high, wide = image.shape[1:]
        down, across = min(self.grid, high), min(self.grid, wide)
        rows, columns = (2 * torch.arange(side, device=image.device) + 1 for side in (high, wide))  # pixels' middles
        return (rows * down // (2 * high))[:, None] * across + columns * across // (2 * wide)


@dataclass(frozen=True)
class Superpixels(Features):
    """Superpixels: as many as SLIC makes when asked for `segments`, or for fewer where these were more."""

    name: ClassVar[str] = "superpixels"
    segments: Few = 50

    def __post_init__(self) -> None:
        settle_fields(self)
        require("skimage.segmentation")

    def most(self, pixels: int) -> int:
        return min(self.segments, pixels)

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        asked, found = self.segments, superpixels(image, self.segments)
        while (count := int(found.max()) + 1) > self.segments:
            asked = asked * self.segments // count
            found = superpixels(image, max(1, asked))
        return found


@dataclass(frozen=True)
class Pixels(Features):
    """Every pixel by itself."""

    name: ClassVar[str] = "pixels"

    def most(self, pixels: int) -> int:
        return pixels

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        return torch.arange(image[0].numel(), device=image.device).view(image.shape[1:])


_SHIPPED: dict[str, Any] = {kind.name: kind for kind in (Cells, Superpixels, Pixels)}


def features(wanted: Any) -> Features:
    """Features from their name, a table with their name and settings, or themselves.

    `"cells"`, `"superpixels"`, `"pixels"`, `{"name": "cells", "grid": 14}`, `{"name": "superpixels", "segments": 80}`.
    """
    if isinstance(wanted, Features):
        return wanted
    if isinstance(wanted, str):
        wanted = {"name": wanted}
    if not isinstance(wanted, Mapping) or "name" not in wanted:
        raise ValueError(f"features are a name, a table with a name, or a Features; got {wanted!r}")
    return from_table("features", wanted, _SHIPPED)  # type: ignore[no-any-return]


def worths(maps: Tensor, labels: Sequence[Tensor]) -> list[Tensor]:
    """The sum of each of B maps (B×H×W) over every feature of its image (H×W each): B times L, in double precision."""
    pairs = [(of.flatten(), each.double().flatten()) for each, of in zip(maps, labels, strict=True)]
    return [values.new_zeros(int(of.max()) + 1).index_add_(0, of, values) for of, values in pairs]
