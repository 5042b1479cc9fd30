"""How a picture is brought to a network's size. Without torch, so that a suite can be checked without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from camfaith.models.lookup import UnknownName

_MODES = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
INTERPOLATIONS = {name: Image.Resampling[name.upper()] for name in _MODES} | {"nearest-exact": Image.Resampling.NEAREST}
"""What lies between two pixels, by torchvision's and Pillow's names."""

LARGEST = 2**14
"""No network takes pictures with longer sides; a slip of the pen would fill the memory."""


@dataclass(frozen=True)
class Geometry:
    """Pad to a square, resize, crop: in this order, each only where it is said.

    `resize` is the length of the short side, the long one in proportion, or (height, width), which squeezes. `crop` is
    the side of a central square, or (height, width); a picture that is smaller gets a black border. `pad` puts the
    picture into the middle of a black square. `interpolation` is a name, or torchvision's or Pillow's own value. Raises
    `ValueError` for anything else.
    """

    resize: int | tuple[int, int] | None = None
    crop: int | tuple[int, int] | None = None
    interpolation: Any = "bilinear"
    pad: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "resize", length("resize", self.resize))
        object.__setattr__(self, "crop", length("crop", self.crop))
        object.__setattr__(self, "interpolation", interpolation(self.interpolation))
        if not isinstance(self.pad, bool):
            raise ValueError(f"pad must be True or False, got {self.pad!r}")

    @property
    def changes(self) -> bool:
        """Whether it may change a picture's size."""
        return self.pad or self.resize is not None or self.crop is not None

    def of_picture(self, picture: Image.Image) -> Image.Image:
        return self._bring(picture, INTERPOLATIONS[self.interpolation])

    def of_mask(self, mask: Image.Image) -> Image.Image:
        """As its picture, with the nearest neighbour's value: a mask has none between its own."""
        return self._bring(mask, Image.Resampling.NEAREST)

    def _bring(self, picture: Image.Image, between: Image.Resampling) -> Image.Image:
        if self.pad:
            side = max(picture.size)
            picture = _central(picture, side, side)
        if self.resize is not None:
            height, width = _resized(picture, self.resize)
            picture = picture.resize((width, height), between)
        if self.crop is not None:
            height, width = (self.crop, self.crop) if isinstance(self.crop, int) else self.crop
            picture = _central(picture, height, width)
        return picture


def length(name: str, given: Any) -> int | tuple[int, int] | None:
    """A side, or height and width, in whole pixels; `ValueError` for anything else."""
    listed = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    fits = len(listed) == 2 or not isinstance(given, Sequence)
    if any(type(one) is int and one > LARGEST for one in listed):
        raise ValueError(f"{name} must be at most {LARGEST} pixels a side, got {given!r}")
    if given is not None and not (fits and all(type(one) is int and one >= 1 for one in listed)):
        raise ValueError(f"{name} must be whole pixels, a side or [height, width]; got {given!r}")
    return (listed[0], listed[1]) if len(listed) == 2 else given


def interpolation(given: Any) -> str:
    """The name of an interpolation; `UnknownName` where there is none."""
    name = given.name.lower() if isinstance(given, Image.Resampling) else getattr(given, "value", given)
    if name not in INTERPOLATIONS:
        raise UnknownName("interpolation", str(name), INTERPOLATIONS)
    return str(name)


def _resized(picture: Image.Image, wanted: int | tuple[int, int]) -> tuple[int, int]:
    if not isinstance(wanted, int):
        return wanted
    short, long = sorted(picture.size)
    longer = int(wanted * long / short)
    return (wanted, longer) if picture.height <= picture.width else (longer, wanted)


def _central(picture: Image.Image, height: int, width: int) -> Image.Image:
    """Height × width of the picture's middle, as torchvision rounds it, with black where the picture ends."""
    left, top = (_start(*lengths) for lengths in ((picture.width, width), (picture.height, height)))
    return picture.crop((left, top, left + width, top + height))


def _start(there: int, wanted: int) -> int:
    return round((there - wanted) / 2) if there >= wanted else -((wanted - there) // 2)
