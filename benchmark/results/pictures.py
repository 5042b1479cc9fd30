"""How a run keeps its pictures: without loss, so that what is judged again is what was judged."""

from __future__ import annotations

import io

from PIL import Image


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def lossless(picture: Image.Image) -> bytes:
    """The picture as PNG or as lossless WebP, whichever is smaller."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=True, method=4)
    return min(png(picture), buffer.getvalue(), key=len)
