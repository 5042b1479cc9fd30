"""The gallery shows the right images with the right maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from camfaith.benchmark.results.store import Result
from camfaith.reports.gallery import choose, hang, heatmap, judge_of, outlined, overlay
from camfaith.reports.view import Judged, View

Fabricate = Callable[..., Result]
ORDER = [3, 0, 7, 5, 1, 6, 2, 4]
"""Samples by rising insertion auc of the methods."""


def by_order(found: dict[str, pd.DataFrame]) -> None:
    """Methods rank the images by `ORDER`; controls, which must not count, rank them the other way by far."""
    scores = found["scores"]
    for place, index in enumerate(ORDER):
        rows = (scores["column"] == "auc") & scores["sample"].str.endswith(f"{index:03d}")
        control = scores["method"].isin(["random", "constant", "sobel"])
        scores.loc[rows & ~control, "value"] = 0.1 * place
        scores.loc[rows & control, "value"] = -100.0 * place


def test_the_best_and_worst_are_by_the_mean_over_methods_that_are_no_controls(fabricate: Fabricate) -> None:
    view = View(fabricate(models=["net"], change=by_order))
    column = judge_of(view)
    assert column == Judged("insertion", "auc", "higher")
    cases = choose(view, view.blocks[0], column)
    assert [(case.sample[-1], case.best) for case in cases] == [
        ("4", True),
        ("2", True),
        ("6", True),
        ("7", False),
        ("0", False),
        ("3", False),
    ]
    assert cases[0].score == pytest.approx(0.7)


def test_without_insertion_the_first_directed_column_chooses_and_its_direction_counts(fabricate: Fabricate) -> None:
    view = View(fabricate(models=["net"], metrics=["deletion", "conservation"], change=by_order))
    column = judge_of(view)
    assert column == Judged("deletion", "auc", "lower")
    assert [case.sample[-1] for case in choose(view, view.blocks[0], column)][:3] == ["3", "0", "7"]


@pytest.mark.parametrize(("samples", "expected"), [(1, (1, 0)), (2, (1, 1)), (5, (3, 2)), (6, (3, 3)), (20, (3, 3))])
def test_no_image_is_both_best_and_worst(fabricate: Fabricate, samples: int, expected: tuple[int, int]) -> None:
    view = View(fabricate(models=["net"], samples=samples))
    column = judge_of(view)
    assert column is not None
    cases = choose(view, view.blocks[0], column)
    assert len({case.sample for case in cases}) == len(cases)
    assert (sum(case.best for case in cases), sum(not case.best for case in cases)) == expected


def test_each_block_has_a_wall_with_all_methods(plain_report: Path) -> None:
    for name in ("resnet--fundus", "vgg--fundus"):
        wall = np.asarray(Image.open(plain_report / "gallery" / f"{name}.png").convert("L"))
        strips = 6
        assert 150 * strips < wall.shape[0] < 300 * strips
        assert (wall < 250).mean() > 0.3


def test_an_image_without_a_map_leaves_a_grey_tile(fabricate: Fabricate, tmp_path: Path) -> None:
    def drop(found: dict[str, pd.DataFrame]) -> None:
        found["maps"] = found["maps"][found["maps"]["method"] != "gradcam"].reset_index(drop=True)
        some = found["maps"]["sample"].str.endswith("0")
        found["maps"] = found["maps"][~((found["maps"]["method"] == "xgradcam") & some)]

    walls = hang(View(fabricate(models=["net"], samples=1, change=drop)), tmp_path)
    assert len(walls) == 1
    tile = 160 * 160
    assert (np.asarray(Image.open(walls[0].path)) == 235).all(
        2
    ).sum() < 0.1 * tile  # methods without any map are left out
    more = hang(View(fabricate(models=["net", "other"], samples=2, change=drop)), tmp_path)
    assert (np.asarray(Image.open(more[0].path)) == 235).all(2).sum() >= tile


def test_a_heat_map_is_the_positive_part_enlarged_and_stretched() -> None:
    raw = np.array([[-5, 0], [2, 4]], np.float32)
    np.testing.assert_allclose(heatmap(raw, (2, 2)), [[0, 0], [0.5, 1]])
    large = heatmap(raw, (8, 4))
    assert large.shape == (4, 8)
    # Bilinear with the corners of pixels aligned: the outermost half cell is flat.
    np.testing.assert_allclose(large[0, :2], 0, atol=1e-6)
    np.testing.assert_allclose(large[-1, -2:], 1, atol=1e-6)
    assert (np.diff(large[-1]) >= 0).all()


def test_bilinear_enlarging_is_that_of_the_models() -> None:
    """The numbers of torch's interpolate(mode="bilinear", align_corners=False) for this map."""
    raw = np.array([[0.0, 1.0]], np.float32)
    np.testing.assert_allclose(heatmap(raw, (4, 1)), [[0, 0.25, 0.75, 1]], atol=1e-6)


@pytest.mark.parametrize(("value", "shown"), [(0.0, 0), (-3.0, 0), (2.0, 1)])
def test_a_constant_map_is_full_where_positive_else_nothing(value: float, shown: int) -> None:
    assert (heatmap(np.full((3, 3), value, np.float32), (6, 6)) == shown).all()


def test_one_pixel_does_not_set_the_scale_of_a_map_of_pixels() -> None:
    raw = np.full((40, 10), 1, np.float32)
    raw[0], raw[1, :2] = 0, 100
    shown = heatmap(raw, (10, 40))
    assert (shown[1:] == 1).all()
    assert (shown[0] == 0).all()
    assert heatmap(raw, (20, 80))[10:].max() < 0.02  # of cells, the greatest sets it


def test_a_map_of_pixels_with_but_a_few_above_nothing_shows_those() -> None:
    raw = np.zeros((40, 10), np.float32)
    raw[3, :2] = 2, 1
    assert heatmap(raw, (10, 40))[3, :3].tolist() == [1, 0.5, 0]


def test_an_overlay_is_half_grey_picture_half_colour() -> None:
    picture = Image.new("RGB", (4, 4), (200, 100, 0))
    drawn = np.asarray(overlay(picture, np.zeros((4, 4), np.float32)))
    assert abs(drawn[0, 0].astype(int) - [59, 59, 61]).max() <= 2  # luminance 118.5, and inferno begins at (0, 0, 4)


def test_the_mask_is_outlined_and_not_filled() -> None:
    mask = Image.fromarray(np.pad(np.full((20, 20), 255, np.uint8), 10))
    drawn = np.asarray(outlined(Image.new("RGB", (40, 40), (90, 90, 90)), mask))
    assert (drawn[20, 20] == 90).all()
    assert (drawn[0, 0] == 90).all()
    assert (drawn[20, 9] == 255).all()
