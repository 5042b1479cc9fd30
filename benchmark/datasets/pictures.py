"""Finding the files of pictures and masks, and reading masks; `models.pictures` reads the pictures."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from camfaith.benchmark.datasets.sample import SampleError
from camfaith.models.pictures import PictureError, Stored, bands, load_picture, read_file

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


def existing_folder(path: str | os.PathLike[str], remedy: str = "") -> Path:
    """The folder's absolute path, `~` expanded. Raises `FileNotFoundError`, with the `remedy`, where there is none."""
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder at {str(folder)!r}{remedy and ': '}{remedy}")
    return folder


def required(root: str | os.PathLike[str], remedy: str, *needed: Sequence[str]) -> Path:
    """The folder `root`, resolved, which holds one of the names of each of `needed`.

    Raises `FileNotFoundError`, which says what is missing and the `remedy`, where it does not.
    """
    folder = existing_folder(root, remedy)
    for names in needed:
        if not any((folder / name).exists() for name in names):
            raise FileNotFoundError(f"no {' or '.join(names)} in {str(folder)!r}: {remedy}")
    return folder.resolve()


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


def read_picture(path: str | os.PathLike[str], white: float | None = None) -> Image.Image:
    """`load_picture` of a file, whose errors become `SampleError`."""
    with _of_a_sample():
        return load_picture(path, white=white)


def read_mask(path: str | os.PathLike[str], size: tuple[int, int]) -> Image.Image:
    """The mask as 8-bit grey: 255 inside and 0 outside, for a picture displayed at `size` (width, height).

    A pixel is inside where any of its colour channels is not zero and it is not fully transparent. The mask is given
    in the displayed orientation of its picture and is never turned or resized.

    Raises `SampleError` as `read_picture` does, and where the mask has another size, has an EXIF orientation of its
    own, or is a JPEG.
    """
    stored = _stored_mask(Path(path), size)
    mask = Image.new("L", size)
    for corner, band in bands(stored.image):
        mask.paste(mask_of(_inside(replace(stored, image=band))), corner)
    return mask


def read_classes(path: str | os.PathLike[str], size: tuple[int, int]) -> Image.Image:
    """The number of the class at each pixel, as a palette or grey picture of 8 bits holds it; otherwise as
    `read_mask`."""
    path = Path(path)
    image = _stored_mask(path, size).image
    if image.mode not in ("P", "L"):
        raise SampleError(f"mask {_quoted(path)} is {image.mode}: give one whose pixels are class numbers (P or L)")
    return image


def mask_of(inside: NDArray[np.bool_]) -> Image.Image:
    """The mask as 8-bit grey: 255 inside and 0 outside."""
    return Image.fromarray(inside.astype(np.uint8) * 255)


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


class ByStem:
    """The pictures in `folders` below `root` by the stem of their name, whatever their suffix and its case.

    Folders that are not there hold none. `found[stem]` raises `SampleError` where there is no picture of that stem,
    where there are several, or where a link leads out of `root`.
    """

    def __init__(self, root: Path, folders: Sequence[str]) -> None:
        self._root, self._folders = root.resolve(), folders
        self._files: dict[str, list[Path]] = defaultdict(list)
        for folder in (root / name for name in folders):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.suffix.lower() in EXTENSIONS:
                    self._files[path.stem].append(path)

    def __contains__(self, stem: str) -> bool:
        return stem in self._files

    def __getitem__(self, stem: str) -> Path:
        found = self._files.get(stem, [])
        if not found:
            raise SampleError(f"no picture {stem!r} in {' or '.join(map(repr, self._folders))}, with any suffix")
        if len(found) > 1:
            raise SampleError(f"several pictures {stem!r}: {', '.join(map(printable, found))}; keep one of them")
        return path_below(self._root, found[0].relative_to(self._root).as_posix())

    def equal(self, stems: Sequence[str]) -> list[list[int]]:
        """The positions of stems whose files hold the same bytes, two or more each. Files of equal size are read."""
        sizes: dict[int, list[int]] = defaultdict(list)
        for position, stem in enumerate(stems):
            if len(self._files.get(stem, [])) == 1 and self._files[stem][0].is_file():
                sizes[self._files[stem][0].stat().st_size].append(position)
        digests: dict[bytes, list[int]] = defaultdict(list)
        for positions in (one for one in sizes.values() if len(one) > 1):
            for position in positions:
                with self._files[stems[position]][0].open("rb") as stream:
                    digests[hashlib.file_digest(stream, "sha256").digest()].append(position)
        return [one for one in digests.values() if len(one) > 1]


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


@contextmanager
def _of_a_sample() -> Iterator[None]:
    try:
        yield
    except PictureError as error:
        raise SampleError(str(error)) from error


def _stored_mask(path: Path, size: tuple[int, int]) -> Stored:
    with _of_a_sample():
        stored = read_file(path, partial(_check_mask_file, path))
    _check_size(path, stored.image.size, size)
    return stored


def _check_mask_file(path: Path, image: Image.Image) -> None:
    if image.format in ("JPEG", "MPO"):
        raise PictureError(
            f"mask {_quoted(path)} is a JPEG, whose compression leaves non-zero pixels outside of the region: "
            "save the mask as PNG"
        )
    turned = image.getexif().get(ExifTags.Base.Orientation, 1)
    if turned != 1:
        raise PictureError(
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


def _inside(stored: Stored) -> NDArray[np.bool_]:
    image = stored.image
    if stored.is_wide:  # compared before any scaling, which would round small values to 0
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise SampleError(f"mask {stored.name} has values that are not finite: save it with 0 and 255")
        return np.asarray((values != 0) & (values != image.info.get("transparency", 0)))
    rgba = np.asarray(image.convert("RGBA" if stored.has_transparency else "RGB").convert("RGBA"))
    return np.asarray((rgba[..., :3] != 0).any(axis=-1) & (rgba[..., 3] != 0))


def _quoted(path: Path) -> str:
    return repr(str(path))
