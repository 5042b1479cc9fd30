"""The steps from a raw map to a heat map, each on its own: rectify → upsample → normalise. `display` draws it."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import pil_to_tensor, to_dtype

_ROUNDING = 1 / 510
"""How far a picture may lie outside [0, 1], as after a bicubic change of size: half a step of 8 bits."""


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
    """An image in [0, 1], 3×H×W or grey 1×H×W, as a PIL picture of 8 bits."""
    pixels = (image.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous().numpy())


def image_of(picture: Image.Image) -> Tensor:
    """A PIL picture in RGB, 8-bit grey or floating-point grey as an image in [0, 1]: 3×H×W or 1×H×W."""
    if picture.mode == "F":
        return torch.from_numpy(np.array(picture, np.float32))[None].clamp(0, 1)
    image: Tensor = to_dtype(pil_to_tensor(picture), torch.float32, scale=True)
    return image


def drawable(image: Tensor) -> Image.Image:
    """`picture_of` an image that a user gives; `ValueError` for one that is not of shape 3×H×W or 1×H×W, in [0, 1]."""
    if image.ndim != 3 or len(image) not in (1, 3):
        raise ValueError(f"expected a picture of shape 3×H×W or 1×H×W, got {'×'.join(map(str, image.shape))}")
    require_range(image, "a picture")
    return picture_of(image)


def require_range(image: Tensor, what: str, beyond: float = _ROUNDING) -> None:
    """`ValueError` for values that lie outside of [0, 1], further than `beyond`."""
    low, high = (float(end) for end in image.aminmax()) if image.numel() else (0.0, 1.0)
    if not (low >= -beyond and high <= 1 + beyond):
        raise ValueError(
            f"expected {what} in [0, 1], got values from {low:.3g} to {high:.3g}: give it as it was before its "
            "normalisation (x * std + mean undoes that), and 8-bit values divided by 255"
        )
