"""How a map is drawn over a picture, without torch: rectify → upsample → normalise → colours over grey; or with both
signs: scale → upsample → red and blue over light grey."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from camfaith.models.pictures import load_picture

Floats = NDArray[np.float64]

AGAINST, FOR = (59, 76, 192), (180, 4, 38)
"""Blue and red of one lightness: the ends of the diverging colour map of Moreland (2009), in 8-bit sRGB."""

QUANTILE = 0.995
"""The share of a map's pixels whose |M| lies within its scale. One pixel would else set the scale, and the others would
hardly show."""


def is_of_pixels(said: bool | None, raw: NDArray[np.floating], picture: Image.Image) -> bool:
    """Whether a map holds a value for each pixel: as its method has `said`, else whether it is as large as the
    picture."""
    return raw.shape == (picture.height, picture.width) if said is None else said


def upsample(values: ArrayLike, size: tuple[int, int]) -> Floats:
    """Bilinear to H×W with align_corners=False, as `maps.upsample` does it for tensors."""
    cells = np.asarray(values, float)
    if cells.shape == size:
        return cells
    down, across = (_shares(*lengths) for lengths in zip(size, cells.shape, strict=True))
    grown: Floats = down @ cells @ across.T
    # Rounding must not carry a value past those it lies between: a constant map would get a pattern of its own.
    return grown.clip(cells.min(), cells.max())


def _shares(pixels: int, cells: int) -> Floats:
    """What each of a line's cells gives to each of its pixels: 1 at its centre, falling to 0 at its neighbours'."""
    centres = ((np.arange(pixels) + 0.5) * cells / pixels - 0.5).clip(0, cells - 1)
    shares: Floats = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(cells)))
    return shares


def heatmap(raw: ArrayLike, size: tuple[int, int]) -> Floats:
    """The heat map of a raw map, H×W in [0, 1], as a method's call gives it: rectified, upsampled and normalised.

    A constant map is 1 where it is positive, else 0.
    """
    shown = upsample(np.maximum(np.asarray(raw, float), 0), size)
    low, high = float(shown.min()), float(shown.max())
    return (shown - low) / (high - low) if low < high else (shown > 0).astype(float)


def scale_end(values: ArrayLike, *, of_pixels: bool = False) -> float:
    """The |M| at which a map's colours end: its greatest, or of a map of pixels the one that `QUANTILE` of them do not
    pass, unless that is 0."""
    sizes = np.abs(np.asarray(values, float))
    within = float(np.quantile(sizes, QUANTILE, method="inverted_cdf")) if of_pixels else 0.0
    return within if within > 0 else float(sizes.max())


def scaled(values: ArrayLike, *, of_pixels: bool = False) -> Floats:
    """M/`scale_end` in [−1, 1]: zero stays zero, both signs keep one scale, and what lies beyond its end is cut. A map
    of zeros stays as it is."""
    end = scale_end(values, of_pixels=of_pixels)
    return (np.asarray(values, float) / (end if end > 0 else 1)).clip(-1, 1)


def overlay(
    picture: Image.Image,
    shown: ArrayLike,
    *,
    of_pixels: bool = False,
    colormap: str = "inferno",
    opacity: float = 0.5,
) -> Image.Image:
    """A heat map (H×W or h×w in [0, 1]) in colour over the picture in grey, at the picture's size.

    The picture is grey, so that every hue is the map's. The colours of a map of pixels end at its `scale_end`.
    """
    from matplotlib import colormaps  # it takes a second to import, and methods are bound without it

    grey, cut = _grey(picture), scaled(shown, of_pixels=True) if of_pixels else shown
    grown = upsample(cut, (grey.height, grey.width)).clip(0, 1)
    colours = Image.fromarray(colormaps[colormap](grown, bytes=True)[..., :3].copy())
    return Image.blend(grey.convert("RGB"), colours, opacity)


def overlay_signed(
    picture: Image.Image, signed: ArrayLike, *, of_pixels: bool = False, opacity: float = 0.8
) -> Image.Image:
    """A signed map (H×W or h×w) over the picture in light grey, at its size: red where it speaks for the class,
    blue where against.

    The scale is symmetric, from −`scale_end` to `scale_end` of the map as it is given. Colour covers the picture in
    proportion to |M|, by `opacity` at the scale's ends; zero leaves the picture. The picture is grey, since hues of its
    own, a retina's red, would pass for evidence, and lightened by a quarter, since colour hardly shows on black. Raises
    `FloatingPointError` for a map that is not finite.
    """
    if not np.isfinite(np.asarray(signed)).all():
        raise FloatingPointError("the map holds NaN or infinite values")
    grey = _grey(picture)
    grown = upsample(scaled(signed, of_pixels=of_pixels), (grey.height, grey.width))
    drawn = grey.point(lambda level: round(255 - 0.75 * (255 - level))).convert("RGB")
    for colour, part in ((AGAINST, -grown), (FOR, grown)):
        cover = (part.clip(0, 1) * (255 * opacity)).round().astype(np.uint8)
        drawn.paste(colour, mask=Image.fromarray(cover))
    return drawn


def _grey(picture: Image.Image) -> Image.Image:
    """The picture's luminance as it is displayed, 8 bits."""
    shown = load_picture(picture)
    if shown.mode == "F":
        return Image.fromarray(np.round(np.asarray(shown) * 255).astype(np.uint8))
    return shown.convert("L")
