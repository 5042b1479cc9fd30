"""The field of view is where a camera shows something, whatever the rim, the notch and the frame look like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from camfaith.benchmark.datasets.field import field_of
from camfaith.benchmark.datasets.fundus import photograph
from camfaith.benchmark.datasets.skin import skin_photograph


def disc(height: int, width: int, x: float, y: float, radius: float) -> Any:
    down, across = np.mgrid[:height, :width] + 0.5
    return np.hypot(across - x, down - y) <= radius


def found(pixels: Any) -> Any:
    content = field_of(Image.fromarray(pixels.astype(np.uint8)))
    assert content.size == pixels.shape[1::-1]
    assert set(np.unique(np.asarray(content))) <= {0, 255}
    return np.asarray(content) > 0


def overlap(first: Any, second: Any) -> float:
    return float((first & second).sum() / (first | second).sum())


def shown(inside: Any, bright: Any = 160.0, frame: Any = 0.0) -> Any:
    return np.where(inside, bright, frame)[..., None] * np.array((1, 0.5, 0.2))


ROUND = disc(300, 400, 190, 150, 130)
CUT = disc(300, 400, 200, 150, 190)  # by the upper and the lower edge
CORNERS = disc(400, 400, 200, 200, 250)  # by all edges
DOWN, ACROSS = np.mgrid[:300, :400]


FIELDS = {
    "round": (ROUND, shown(ROUND)),
    "cut": (CUT, shown(CUT)),
    "corners and a black spot": (CORNERS, shown(CORNERS & ~disc(400, 400, 340, 50, 45))),
    "grey frame": (ROUND, shown(ROUND, frame=14)),
    "dark rim": (ROUND, shown(ROUND, bright=160 - 130 * (np.hypot(ACROSS - 190, DOWN - 150) / 130) ** 8)),
    "dark towards one side": (ROUND, shown(ROUND, bright=160 * np.clip((ACROSS - 60) / 60, 0, 1))),
    "notch": (ROUND, shown(ROUND | ((abs(DOWN - 150) < 12) & (abs(ACROSS - 320) < 8)))),
    "letters in a corner of the frame": (ROUND, shown(ROUND | ((DOWN < 25) & (ACROSS > 330)))),
    "black spot inside": (ROUND, shown(ROUND & ~disc(300, 400, 150, 150, 40))),
    "noise": (ROUND, np.random.default_rng(0).normal(0, 6, (300, 400, 3)).clip(0) + shown(ROUND)),
}


@pytest.mark.parametrize("kind", FIELDS)
def test_the_field_is_the_disc(kind: str) -> None:
    inside, pixels = FIELDS[kind]
    assert overlap(found(pixels), inside) > 0.985


def test_a_large_photograph_has_the_field_of_a_small_one() -> None:
    inside = disc(1500, 2001, 950.5, 750.2, 650.7)
    assert overlap(found(shown(inside)), inside) > 0.99


SQUARE = (DOWN >= 40) & (DOWN < 260) & (ACROSS >= 70) & (ACROSS < 290)
OVAL = ((ACROSS - 180) / 120) ** 2 + ((DOWN - 150) / 98) ** 2 < 1


@pytest.mark.parametrize("inside", [SQUARE, OVAL, ROUND & (ACROSS < 190)], ids=["square", "oval", "half moon"])
def test_a_field_that_is_not_round_is_the_largest_piece_that_is_bright(inside: Any) -> None:
    spotted = (inside & ~disc(300, 400, 130, 150, 30)) | ((DOWN < 25) & (ACROSS > 330))
    assert overlap(found(shown(spotted)), inside) > 0.98


@pytest.mark.parametrize("value", [0, 200])
def test_without_a_frame_everything_is_field(value: int) -> None:
    assert found(np.full((40, 60, 3), value)).all()
    assert found(np.full((40, 60), value)).all()


def test_a_speck_in_a_dark_picture_is_no_field() -> None:
    assert found(shown(disc(300, 400, 30, 20, 4))).all()


def test_grey_of_more_than_eight_bits_has_a_field_too() -> None:
    levels = Image.fromarray((ROUND * 0.6).astype(np.float32))
    assert overlap(np.asarray(field_of(levels)) > 0, ROUND) > 0.99


def test_the_synthetic_eye_and_skin_are_found() -> None:
    for index in range(10):
        eye = photograph(index, size=128)
        assert overlap(found(eye.pixels), eye.content) > 0.985
        skin = skin_photograph(index, size=128)
        assert overlap(found(skin.pixels), skin.content) > 0.975
