"""Finding picture files, and reading them: whole, as they are displayed, or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from camfaith.benchmark.datasets.sample import SampleError

# Pillow would also try formats that start other programs (EPS) or that it accepts when cut short (JPEG 2000).
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "PPM", "WEBP")

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


def existing_folder(path: str | os.PathLike[str]) -> Path:
    """The folder's absolute path, `~` expanded. Raises `FileNotFoundError` where there is none."""
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder at {str(folder)!r}")
    return folder


def path_below(root: Path, file: str) -> Path:
    """The resolved path of `file`, which must lie below `root` (itself resolved).

    Raises `SampleError` where it is empty, absolute, has a `..`, or leads out of `root` through a link.
    """
    if not file:
        raise SampleError("no file is given")
    windows = PureWindowsPath(file)  # knows both separators, drives and POSIX roots
    if windows.anchor or ".." in windows.parts:
        raise SampleError(f"path {file!r} must be relative and without '..'; root= says where paths start")
    try:
        path = (root / file).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL character
        raise SampleError(f"path {file!r} cannot be followed: {error}") from error
    if not path.is_relative_to(root):
        raise SampleError(f"path {file!r} leads out of {str(root)!r} through a link: copy the file there")
    return path


def printable(path: Path) -> str:
    """The path with `/`; bytes that are not UTF-8 are escaped, since no table can hold them."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def find_pictures(root: Path, extensions: Collection[str] = EXTENSIONS, without: Path | None = None) -> list[Path]:
    """Files below `root` with one of the `extensions` (any case), relative to `root`, sorted folder by folder.

    Hidden files and folders and the folder `without` are skipped. Links are followed, except back into a folder that
    is being walked.
    """
    endings = {extension.lower() for extension in extensions}
    skipped = {without.resolve()} if without is not None else set()
    found = _walk(root, endings, skipped)
    return sorted((path.relative_to(root) for path in found), key=lambda path: path.parts)


def read_picture(path: str | os.PathLike[str]) -> Image.Image:
    """The picture as it is displayed, in RGB.

    The EXIF orientation is applied. Grey, palette and CMYK become RGB; colour profiles are not applied.
    Transparent pixels are dropped onto black. 16-bit grey is scaled so that 65535 becomes 255; floating point must lie
    in [0, 1]. Of an animation, the first frame is read.

    Raises `SampleError` where the file is missing, not a picture, cut short, larger than `PIL.Image.MAX_IMAGE_PIXELS`,
    or has values outside these ranges.
    """
    image = _read(Path(path))
    if _is_wide(image):
        image = Image.fromarray(_to_bytes(image, Path(path)))
    return _on_black(image)


def read_mask(path: str | os.PathLike[str], size: tuple[int, int]) -> Image.Image:
    """The mask as 8-bit grey: 255 inside and 0 outside, for a picture displayed at `size` (width, height).

    A pixel is inside where any of its colour channels is not zero and it is not fully transparent. The mask is given
    in the displayed orientation of its picture and is never turned or resized.

    Raises `SampleError` as `read_picture` does, and where the mask has another size, has an EXIF orientation of its
    own, or is a JPEG.
    """
    path = Path(path)
    image = _read(path, mask=True)
    _check_size(path, image.size, size)
    return Image.fromarray(np.where(_inside(image, path), 255, 0).astype(np.uint8))


def box_mask(boxes: Iterable[tuple[int, int, int, int]], size: tuple[int, int]) -> Image.Image:
    """The union of the boxes (x0, y0, x1, y1; x1 and y1 exclusive) as 8-bit grey, 255 inside and 0 outside.

    Raises `SampleError` where a box is empty or leaves the picture of `size` (width, height).
    """
    mask = Image.new("L", size, 0)
    for x0, y0, x1, y1 in boxes:
        text = f"box {x0} {y0} {x1} {y1}"
        if x1 <= x0 or y1 <= y0:
            raise SampleError(f"{text} is empty: give x1 above x0 and y1 above y0")
        if x0 < 0 or y0 < 0 or x1 > size[0] or y1 > size[1]:
            raise SampleError(f"{text} leaves its picture, displayed at {size[0]}x{size[1]}: cut the box at the edges")
        mask.paste(255, (x0, y0, x1, y1))
    return mask


def _walk(folder: Path, endings: Collection[str], skipped: set[Path]) -> Iterator[Path]:
    below = {*skipped, folder.resolve()}
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if path.resolve() not in below:
                yield from _walk(path, endings, below)
        elif path.suffix.lower() in endings:
            yield path


def _read(path: Path, mask: bool = False) -> Image.Image:
    if not path.is_file():
        raise SampleError(f"no file at {_quoted(path)}")
    if path.stat().st_size == 0:
        raise SampleError(f"{_quoted(path)} is empty (0 bytes)")
    try:
        with _whole_files_only():
            with Image.open(path, formats=FORMATS) as image:
                _check_pixels(path, image.size)
                image.verify()  # the checksums of a PNG; verifying uses up the opened file
            with Image.open(path, formats=FORMATS) as image:
                if mask:  # before loading, which turns a TIFF
                    _check_mask_file(path, image)
                image.load()
                return image if mask else ImageOps.exif_transpose(image)
    except SampleError:
        raise
    except UnidentifiedImageError:
        raise SampleError(f"{_quoted(path)} is not a picture in one of the formats {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise SampleError(f"{_quoted(path)} is too large to be read safely: {error}") from error
    except Exception as error:  # Pillow's decoders let almost any exception out on a damaged file
        raise SampleError(f"{_quoted(path)} is damaged or cut short: {error or type(error).__name__}") from error


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


def _check_pixels(path: Path, size: tuple[int, int]) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and size[0] * size[1] > limit:
        raise SampleError(
            f"{_quoted(path)} is too large to be read safely: {size[0]}x{size[1]} pixels, the limit is {limit}; "
            "shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS where you trust the file"
        )


def _check_mask_file(path: Path, image: Image.Image) -> None:
    if image.format in ("JPEG", "MPO"):
        raise SampleError(
            f"mask {_quoted(path)} is a JPEG, whose compression leaves non-zero pixels outside of the region: "
            "save the mask as PNG"
        )
    turned = image.getexif().get(ExifTags.Base.Orientation, 1)
    if turned != 1:
        raise SampleError(
            f"mask {_quoted(path)} has EXIF orientation {turned}: save its pixels the way the picture is displayed, "
            "without the tag"
        )


def _check_size(path: Path, got: tuple[int, int], wanted: tuple[int, int]) -> None:
    if got == wanted:
        return
    text = f"mask {_quoted(path)} is {got[0]}x{got[1]} but its picture is displayed at {wanted[0]}x{wanted[1]}: "
    if got == wanted[::-1]:
        raise SampleError(
            text + "it seems to lie in the camera's orientation; turn it the way the picture is displayed"
        )
    raise SampleError(text + "give a mask of the picture's size (it is not resized)")


def _is_wide(image: Image.Image) -> bool:
    """Whether a pixel is one number of more than 8 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def _to_bytes(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    """16-bit or floating-point grey as 8-bit grey, rounded to the nearest level."""
    top = 1 if image.mode == "F" else 65535
    values = np.asarray(image).astype(np.float64)
    if not (values.min() >= 0 and values.max() <= top):  # false for NaN too
        kind = "floating-point" if image.mode == "F" else "integer"
        raise SampleError(
            f"{_quoted(path)} has {kind} values from {values.min():g} to {values.max():g}, expected 0 to {top}: "
            "rescale it, or save it with 8 bits"
        )
    return np.round(values * (255 / top)).astype(np.uint8)


def _on_black(image: Image.Image) -> Image.Image:
    if not _has_transparency(image):
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("RGB")


def _inside(image: Image.Image, path: Path) -> NDArray[np.bool_]:
    if _is_wide(image):  # compared before any scaling, which would round small values to 0
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise SampleError(f"mask {_quoted(path)} has values that are not finite: save it with 0 and 255")
        return np.asarray(values != 0)
    rgba = np.asarray(image.convert("RGBA" if _has_transparency(image) else "RGB").convert("RGBA"))
    return np.asarray((rgba[..., :3] != 0).any(axis=-1) & (rgba[..., 3] != 0))


def _has_transparency(image: Image.Image) -> bool:
    return "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La")


def _quoted(path: Path) -> str:
    return repr(str(path))
