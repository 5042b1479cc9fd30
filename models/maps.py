"""The steps between a raw map and what is shown, each on its own: rectify → upsample → normalise → overlay, or with its
sign: balance → upsample → overlay_signed."""

from __future__ import annotations

import math

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

AGAINST, FOR = (59, 76, 192), (180, 4, 38)
"""Blue and red of one lightness: the ends of the diverging colour map of Moreland (2009), in 8-bit sRGB."""

QUANTILE = 0.995
"""Of a map of single pixels, the share whose |M| does not pass the end of its scale: else one pixel would set it, and
the others would hardly show."""
_ROUNDING = 1 / 510
"""What a picture may lie outside [0, 1] by, as after a bicubic change of size: half a step of 8 bits."""


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


def reach(maps: Tensor, quantile: float = 1.0) -> Tensor:
    """Where each map's scale ends, B×1×1: its greatest |M|, or the |M| that the share `quantile` of its values do not
    pass; its greatest again where that is 0."""
    sizes = maps.abs().flatten(1)
    top = sizes.amax(1)
    if quantile < 1:
        within = sizes.kthvalue(math.ceil(quantile * sizes.shape[1]), 1).values
        top = torch.where(within > 0, within, top)
    return top[:, None, None]


def balance(maps: Tensor, quantile: float = 1.0) -> Tensor:
    """M over the end of its scale (`reach`) per map, in [−1, 1]: zero stays zero, both signs keep one scale, and what
    lies beyond it is cut. A map of zeros stays as it is."""
    top = reach(maps, quantile)
    return (maps / torch.where(top > 0, top, torch.ones_like(top))).clamp(-1, 1)


def is_constant(maps: Tensor) -> Tensor:
    """Which of B maps hold one value everywhere (bool, B)."""
    return maps.amax((-2, -1)) <= maps.amin((-2, -1))


def picture_of(image: Tensor) -> Image.Image:
    """A 3×H×W image in [0, 1] as a PIL picture."""
    pixels = (image.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def overlay(
    picture: Image.Image | Tensor,
    heatmap: Tensor,
    *,
    colormap: str = "inferno",
    opacity: float = 0.5,
    quantile: float = 1.0,
) -> Image.Image:
    """The heat map (H×W or h×w in [0, 1]) in colour over the picture in grey, at the picture's size.

    The picture is grey, so that every hue is the map's. With `quantile` below 1 the colours end at that share of the
    map's values (`reach`), and what lies beyond has the last of them.
    """
    from matplotlib import colormaps

    base, shown = _grey(picture), heatmap.detach().float().cpu()[None]
    if quantile < 1:
        shown = balance(shown, quantile)
    grown = upsample(shown, (base.height, base.width))[0].clamp(0, 1)
    colours = Image.fromarray(colormaps[colormap](grown.numpy(), bytes=True)[..., :3].copy())
    return Image.blend(base.convert("RGB"), colours, opacity)


def overlay_signed(
    picture: Image.Image | Tensor, signed: Tensor, *, opacity: float = 0.8, quantile: float = 1.0
) -> Image.Image:
    """A signed map (H×W or h×w) over the picture in light grey, at its size: red where it speaks for the class,
    blue where against.

    The scale is symmetric, −max|M| to max|M| of the map as it is given, or with `quantile` below 1 to the |M| that this
    share of its values do not pass (`reach`). Colour covers the picture in proportion to |M|, by `opacity` at the
    scale's ends; zero leaves the picture. The picture is grey, since hues of its own, a retina's red, would pass for
    evidence, and lightened by a quarter, since colour hardly shows on black. Raises `FloatingPointError` for a map that
    is not finite.
    """
    if not bool(signed.isfinite().all()):
        raise FloatingPointError("the map holds NaN or infinite values")
    base = _grey(picture)
    grown = upsample(balance(signed.detach()[None], quantile).float().cpu(), (base.height, base.width))[0]
    drawn = base.point(lambda grey: round(255 - 0.75 * (255 - grey))).convert("RGB")
    for colour, part in ((AGAINST, -grown), (FOR, grown)):
        cover = (part.clamp(0, 1) * (255 * opacity)).round().to(torch.uint8)
        drawn.paste(colour, mask=Image.fromarray(cover.numpy()))
    return drawn


def _grey(picture: Image.Image | Tensor) -> Image.Image:
    """The picture's luminance, 8 bits; `ValueError` for a tensor that is no picture in [0, 1]."""
    if not isinstance(picture, Tensor):
        return picture.convert("RGB").convert("L")
    if picture.ndim != 3 or len(picture) != 3:
        raise ValueError(f"expected a picture of shape 3×H×W, got {'×'.join(map(str, picture.shape))}")
    low, high = float(picture.min()), float(picture.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        raise ValueError(
            f"expected a picture in [0, 1], got values from {low:.3g} to {high:.3g}: give it as it was before its "
            "normalisation (x * std + mean undoes that), and 8-bit values divided by 255"
        )
    return picture_of(picture).convert("L")
