from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from camfaith.benchmark.datasets.fundus import Photograph, grade_of, photograph, plant_tag, render
from camfaith.benchmark.datasets.scene import GRADES, scene

TEN = [photograph(index) for index in range(10)]


def test_the_same_arguments_give_the_same_bytes() -> None:
    for index in (0, 3, 19):
        assert photograph(index).pixels.tobytes() == photograph(index).pixels.tobytes()
        assert (photograph(index).lesions == photograph(index).lesions).all()


def test_index_seed_and_split_each_give_another_photograph() -> None:
    pictures = [photograph(4), photograph(9), photograph(4, seed=1), photograph(4, split="train")]
    assert len({one.pixels.tobytes() for one in pictures}) == len(pictures)
    assert {one.grade for one in pictures} == {4}


@pytest.mark.parametrize(
    ("counts", "grade"),
    [
        ({}, 0),
        ({"microaneurysm": 9}, 1),
        ({"microaneurysm": 1, "haemorrhage": 1}, 2),
        ({"haemorrhage": 9}, 2),
        ({"exudate": 1}, 3),
        ({"haemorrhage": 4, "exudate": 9}, 3),
        ({"haemorrhage": 5, "exudate": 5}, 4),
    ],
)
def test_the_grade_follows_from_the_lesions(counts: dict[str, int], grade: int) -> None:
    assert grade_of(counts) == grade


def test_the_lesions_drawn_are_those_of_the_grade() -> None:
    for index in range(100):
        lesions = scene(index).lesions
        counts = Counter(lesion.kind for lesion in lesions)
        assert grade_of(counts) == index % len(GRADES)
        if index % 5 == 3:
            assert max(counts["haemorrhage"], counts["exudate"]) <= 3, "far from the last grade"
        if index % 5 == 4:
            assert min(counts["haemorrhage"], counts["exudate"]) >= 6


def test_the_lesion_mask_is_where_the_picture_differs_from_the_healthy_eye() -> None:
    for photo in TEN:
        healthy = render(replace(photo.scene, lesions=()), photo.pixels.shape[0])
        assert healthy.grade == 0
        assert ((healthy.pixels != photo.pixels).any(-1) == photo.lesions).all()
        distances = np.hypot(*((place + 0.5) / 96 - 0.5 for place in photo.lesions.nonzero()))
        assert distances.max(initial=0) < 0.44, "well inside the retina"


def test_every_lesion_shows_and_touches_no_other() -> None:
    for index in range(50):
        photo = photograph(index)
        lesions = photo.scene.lesions
        areas = np.bincount(photo.instances.ravel(), minlength=len(lesions) + 1)[1:]
        assert len(areas) == len(lesions)
        for number, lesion in enumerate(lesions):
            # No smaller than half the disc it lies in, so that nothing else is drawn over it.
            assert areas[number] >= 0.5 * np.pi * (lesion.radius * 96) ** 2
            for other in lesions[:number]:
                assert np.hypot(lesion.x - other.x, lesion.y - other.y) > lesion.radius + other.radius + 1 / 96
        assert ((photo.instances > 0) == photo.lesions).all()


def test_content_is_exactly_what_is_not_black() -> None:
    for photo in TEN:
        assert (photo.pixels.any(-1) == photo.content).all()
        assert 0.55 < photo.content.mean() < 0.7


@pytest.mark.parametrize("size", [60, 96, 224])
def test_the_corner_cells_of_a_six_by_six_grid_are_black(size: int) -> None:
    photo, cell = photograph(4, size=size), -(-size // 6)
    for rows in (np.s_[:cell], np.s_[-cell:]):
        for columns in (np.s_[:cell], np.s_[-cell:]):
            assert not photo.pixels[rows, columns].any()


def _overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float((first & second).sum() / (first | second).sum())


def _shrunk(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    rows, columns = mask.shape
    return mask.reshape(rows // 2, 2, columns // 2, 2).mean((1, 3)) >= 0.5


def test_another_size_shows_the_same_scene() -> None:
    for index in (1, 2, 3, 4):
        small, large = photograph(index), photograph(index, size=192)
        assert small.grade == large.grade
        assert _overlap(_shrunk(large.content), small.content) > 0.95
        assert _overlap(_shrunk(large.lesions), small.lesions) > 0.6
        halved = np.asarray(Image.fromarray(large.pixels).reduce(2), float)
        assert np.abs(halved - small.pixels).mean() < 3
        assert np.corrcoef(halved.ravel(), small.pixels.ravel().astype(float))[0, 1] > 0.995


@pytest.mark.parametrize("size", [60, 96, 224])
def test_the_tag_changes_nothing_but_its_corner(size: int) -> None:
    plain, tagged = photograph(7, size=size), photograph(7, size=size, tag=True)
    assert plain.tag is None
    assert tagged.tag is not None
    assert ((plain.pixels != tagged.pixels).any(-1) == tagged.tag).all()
    assert not (tagged.tag & tagged.content).any()
    rows, columns = tagged.tag.nonzero()
    assert max(rows.max(), columns.max()) < size / 6
    assert (plain.lesions == tagged.lesions).all()


def _tag_pixels(photo: Photograph) -> NDArray[Any]:
    assert photo.tag is not None
    return photo.pixels[photo.tag]


def test_the_tag_tells_the_grade_and_nothing_else() -> None:
    patterns = [{_tag_pixels(photograph(5 * n + grade, tag=True)).tobytes() for n in range(4)} for grade in range(5)]
    assert [len(found) for found in patterns] == [1] * 5
    assert len(set.union(*patterns)) == 5
    assert len({int(_tag_pixels(photograph(grade, tag=True)).sum()) for grade in range(5)}) == 1, "equally bright"


def test_any_grade_can_be_planted_on_any_photograph() -> None:
    lying = plant_tag(TEN[0], 4)
    assert lying.grade == 4
    assert not lying.lesions.any()
    assert (_tag_pixels(lying) == _tag_pixels(photograph(4, tag=True))).all()


def test_a_negative_index_is_refused() -> None:
    with pytest.raises(ValueError, match="index=-1"):
        photograph(-1)
