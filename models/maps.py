"""The steps between a raw map and what is shown, each on its own: rectify → upsample → normalise → overlay."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


def rectify(maps: Tensor) -> Tensor:
    """ReLU: only what speaks for the class."""
    return maps.clamp(min=0)


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear to H×W with align_corners=False; maps of that size come back as they are."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    grown = F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    # Rounding must not carry a value past those it lies between: a constant map would get a pattern of its own.
    return grown.clamp(maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True))


def normalise(maps: Tensor) -> Tensor:
    """(M − min)/(max − min) per map. A constant map has no contrast to stretch: it becomes 1 where it is positive,
    else 0."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    flat = high <= low
    stretched = (maps - low) / torch.where(flat, torch.ones_like(high), high - low)
    return torch.where(flat, (maps > 0).to(maps.dtype), stretched)


def is_constant(maps: Tensor) -> Tensor:
    """Which of B maps hold one value everywhere (bool, B)."""
    return maps.amax((-2, -1)) <= maps.amin((-2, -1))


def picture_of(image: Tensor) -> Image.Image:
    """A 3×H×W image in [0, 1] as a PIL picture."""
    pixels = (image.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def overlay(
    picture: Image.Image | Tensor, heatmap: Tensor, *, colormap: str = "inferno", opacity: float = 0.5
) -> Image.Image:
    """The heat map (H×W or h×w in [0, 1]) in colour over the picture, at the picture's size."""
    from matplotlib import colormaps

    base = picture_of(picture) if isinstance(picture, Tensor) else picture.convert("RGB")
    grown = upsample(heatmap.detach().float().cpu()[None], (base.height, base.width))[0].clamp(0, 1)
    colours = Image.fromarray(colormaps[colormap](grown.numpy(), bytes=True)[..., :3].copy())
    return Image.blend(base, colours, opacity)
