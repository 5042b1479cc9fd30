"""Reading pictures, from files or from Pillow, as they are displayed: whole and upright, on black, with all levels.

Without torch: reports draw over pictures and do without it.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "PPM", "WEBP")
"""Pillow would also try formats that start other programs or that it accepts when cut short (JPEG 2000)."""

STARTING_PROGRAMS = ("EPS", "WMF")

_STEPS = {"L;2": 85, "L;4": 17}
"""What the levels of 2 and 4 bits are multiplied by to become 8."""

_BAND = 2**20
"""How many pixels are converted at once: a large picture is not held in several forms."""


class PictureError(ValueError):
    """A picture that cannot be used."""


@dataclass(frozen=True)
class Stored:
    """A picture's pixels as Pillow holds them, and how its file has them."""

    image: Image.Image
    name: str
    raw: str = ""
    """Pillow's name for the file's pixels, as "I;16B"; "" where they were loaded before."""
    white_is_zero: bool = False

    @property
    def is_wide(self) -> bool:
        """Whether a pixel is one number of more than 8 bits."""
        return self.image.mode == "F" or self.image.mode.startswith("I")

    @property
    def has_transparency(self) -> bool:
        return "transparency" in self.image.info or self.image.mode in ("RGBA", "LA", "PA", "RGBa", "La")


def load_picture(picture: str | os.PathLike[str] | Image.Image, *, white: float | None = None) -> Image.Image:
    """The picture as it is displayed: RGB, or grey of more than 8 bits as floating point from 0 (black) to 1 (mode F).

    `picture` is a file, or what Pillow has opened or made of one. The EXIF orientation is applied. Grey of 8 bits,
    palette and CMYK become RGB; colour profiles are not applied. Transparent pixels are dropped onto black. Of an
    animation, the first frame is read. Of 16-bit colour, Pillow reads the upper 8 bits.

    `white` is the value that is white in grey of more than 8 bits: 65535 unless said (4095 in a TIFF of 12 bits), and 1
    in floating point. Warns where 16 bits hold no value above 4095, and nothing was said.

    Raises `PictureError` where the file is missing, not a picture, cut short, larger than `PIL.Image.MAX_IMAGE_PIXELS`,
    or has values below 0 or above white.
    """
    white = checked_white(white)
    stored = _taken(picture) if isinstance(picture, Image.Image) else read_file(Path(picture))
    return _levels(stored, white) if stored.is_wide else _on_black(stored, white)


def checked_white(white: float | None) -> float | None:
    """`white` itself; `ValueError` where it is no number above 0."""
    if white is None or (isinstance(white, Real) and not isinstance(white, bool) and 0 < white < float("inf")):
        return white
    raise ValueError(f"white must be a number above 0, the value that is white; got {white!r}")


def read_file(path: Path, check: Callable[[Image.Image], None] | None = None) -> Stored:
    """A file's pixels, upright; with a `check` of the opened file, as it lies there."""
    name = repr(str(path))
    if not path.is_file():
        raise PictureError(f"no file at {name}")
    if path.stat().st_size == 0:
        raise PictureError(f"{name} is empty (0 bytes)")
    with _problems_named(name):
        with Image.open(path, formats=FORMATS) as image:
            _check_pixels(name, image.size)
            image.verify()  # the checksums of a PNG; verifying uses up the opened file
        with Image.open(path, formats=FORMATS) as image:
            if check is not None:
                check(image)
            return _load(image, name)


def _taken(picture: Image.Image) -> Stored:
    """The pixels of a picture that Pillow holds already."""
    name = repr(str(file)) if (file := getattr(picture, "filename", "")) else "the picture"
    if getattr(picture, "format", None) in STARTING_PROGRAMS:
        raise PictureError(f"{name} is {picture.format}, which starts another program: save it as PNG")
    with _problems_named(name):
        return _load(picture, name)


def _load(image: Image.Image, name: str) -> Stored:
    tile = getattr(image, "tile", None)
    stored = tile[0][3] if tile else ""
    raw = stored if isinstance(stored, str) else str(stored[0])
    image.load()
    tags = getattr(image, "tag_v2", {})
    _scale_transparency(image, raw, name)
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    return Stored(image, name, raw, tags.get(ExifTags.Base.PhotometricInterpretation) == 0)


def _scale_transparency(image: Image.Image, raw: str, name: str) -> None:
    """Bring the transparent value of a PNG to the scale of its pixels, as Pillow does for one bit alone."""
    value = image.info.get("transparency")
    if value is not None and raw in _STEPS:
        image.info["transparency"] = value * _STEPS[raw]
    if value is not None and raw.startswith("RGB;16"):
        del image.info["transparency"]
        upper = np.array([one >> 8 for one in value], np.uint8)
        if any((np.asarray(band) == upper).all(2).any() for _, band in bands(image)):
            raise PictureError(
                f"{name} is colour of 16 bits with a transparent colour, of which Pillow reads 8: save it with an "
                "alpha channel"
            )


def bands(image: Image.Image) -> Iterator[tuple[tuple[int, int], Image.Image]]:
    """The image in bands of whole rows, each with its left upper corner."""
    rows = max(1, _BAND // max(1, image.width))
    for top in range(0, image.height, rows):
        yield (0, top), image.crop((0, top, image.width, min(top + rows, image.height)))


def _levels(stored: Stored, white: float | None) -> Image.Image:
    """Grey of more than 8 bits from 0 to 1, mode F."""
    image, floats = stored.image, stored.image.mode == "F"
    end = white or (1 if floats else 4095 if stored.raw == "I;12" else 65535)
    extremes = [(found.min(), found.max()) for _, band in bands(image) if (found := np.asarray(band)).size]
    low, high = np.min(extremes), np.max(extremes)
    if not (low >= 0 and high <= end):  # true for NaN too
        kind = "floating-point" if floats else "integer"
        raise PictureError(
            f"{stored.name} has {kind} values from {low:g} to {high:g}, expected 0 to {end:g}: say which value is "
            "white (white=...), or rescale it"
        )
    if end == 65535 and white is None:
        _warn_if_dark(high, 4095)
    transparent = image.info.get("transparency")
    if floats and end == 1 and transparent is None and not stored.white_is_zero:
        return image
    levels = Image.new("F", image.size)
    for corner, band in bands(image):
        found = np.asarray(band)
        shares = found.astype(np.float64) / end
        shares = 1 - shares if stored.white_is_zero else shares
        shares = shares if transparent is None else np.where(found == transparent, 0, shares)
        levels.paste(Image.fromarray(shares.astype(np.float32)), corner)
    return levels


def _warn_if_dark(high: float, most: int) -> None:
    if 0 < high <= most:
        warnings.warn(  # without the file's name, so that it is said once
            "a picture of 16 bits has no value above 4095 and comes out dark: if its white is 4095 (12 bits), say "
            "white = 4095, to load_picture or as a key of the data set; white = 65535 says that it is dark",
            stacklevel=4,
        )


def _on_black(stored: Stored, white: float | None) -> Image.Image:
    image = stored.image
    if ";16" in stored.raw:  # of colour
        if white not in (None, 65535):
            raise PictureError(
                f"{stored.name} is colour of 16 bits, of which Pillow reads the upper 8: rescale it to white = 65535"
            )
        if white is None:
            _warn_if_dark(np.asarray(image.getextrema()[:3]).max(), 4095 >> 8)
    if not stored.has_transparency:
        return image if image.mode == "RGB" else image.convert("RGB")
    shown = Image.new("RGB", image.size)
    for corner, band in bands(image):
        black = Image.new("RGBA", band.size, "black")
        shown.paste(Image.alpha_composite(black, band.convert("RGBA")).convert("RGB"), corner)
    return shown


@contextmanager
def _problems_named(name: str) -> Iterator[None]:
    """Whatever Pillow raises becomes a `PictureError` that names the picture."""
    try:
        with _whole_files_only():
            yield
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(f"{name} is not a picture in one of the formats {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(f"{name} is too large to be read safely: {error}") from error
    except Exception as error:  # Pillow's decoders let almost any exception out on a damaged file
        raise PictureError(f"{name} is damaged or cut short: {error or type(error).__name__}") from error


_lock = threading.Lock()
_readers = 0
_setting = False


@contextmanager
def _whole_files_only() -> Iterator[None]:
    """Keep `LOAD_TRUNCATED_IMAGES` off while any thread reads: other packages turn it on for the whole process."""
    global _readers, _setting
    with _lock:
        if _readers == 0:
            _setting = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = _setting


def _check_pixels(name: str, size: tuple[int, int]) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and size[0] * size[1] > limit:
        raise PictureError(
            f"{name} is too large to be read safely: {size[0]}x{size[1]} pixels, the limit is {limit}; "
            "shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS where you trust the file"
        )
