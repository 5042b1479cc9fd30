"""Small files for data sets to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def picture() -> Callable[..., Path]:
    """Saves a picture of one colour."""

    def save(path: Path, colour: str | tuple[int, int, int] = "red", size: tuple[int, int] = (6, 4)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return path

    return save


@pytest.fixture
def mask() -> Callable[..., Path]:
    """Saves a mask that is inside in the box."""

    def save(path: Path, box: tuple[int, int, int, int], size: tuple[int, int] = (6, 4)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("L", size)
        image.paste(255, box)
        image.save(path)
        return path

    return save
