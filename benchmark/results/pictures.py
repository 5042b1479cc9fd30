"""How a run keeps its pictures: without loss, so that what is judged again is what was judged."""

from __future__ import annotations

import io

from PIL import Image


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    """A picture that a run kept; bytes of any other format in its folder are not opened."""
    return Image.open(io.BytesIO(data), formats=("PNG", "WEBP"))


def lossless(picture: Image.Image) -> bytes:
    """The picture as PNG or as lossless WebP, which has no grey, whichever is smaller."""
    if picture.mode != "RGB":
        return png(picture)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=True, method=4)
    return min(png(picture), buffer.getvalue(), key=len)
