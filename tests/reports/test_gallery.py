"""The gallery shows the right images with the right maps."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from camfaith.benchmark.results.store import Result
from camfaith.models.display import heatmap, overlay
from camfaith.reports.gallery import choose, hang, judge_of, outlined
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
    exhibits = choose(view, view.blocks[0], column)
    assert [exhibit.sample[-1] for exhibit in exhibits] == ["4", "2", "6", "7", "0", "3"]
    assert [exhibit.best for exhibit in exhibits] == [True] * 3 + [False] * 3
    assert exhibits[0].score == pytest.approx(0.7)


def test_without_insertion_the_first_directed_column_chooses_and_its_direction_counts(fabricate: Fabricate) -> None:
    view = View(fabricate(models=["net"], metrics=["deletion", "conservation"], change=by_order))
    column = judge_of(view)
    assert column == Judged("deletion", "auc", "lower")
    assert [exhibit.sample[-1] for exhibit in choose(view, view.blocks[0], column)][:3] == ["3", "0", "7"]


@pytest.mark.parametrize(("samples", "expected"), [(1, (1, 0)), (2, (1, 1)), (5, (3, 2)), (6, (3, 3)), (20, (3, 3))])
def test_no_image_is_both_best_and_worst(fabricate: Fabricate, samples: int, expected: tuple[int, int]) -> None:
    view = View(fabricate(models=["net"], samples=samples))
    column = judge_of(view)
    assert column is not None
    exhibits = choose(view, view.blocks[0], column)
    assert len({exhibit.sample for exhibit in exhibits}) == len(exhibits)
    assert (sum(e.best for e in exhibits), sum(not e.best for e in exhibits)) == expected


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


@pytest.mark.parametrize(
    ("said", "cut"),
    [({}, True), ({"of_pixels": None}, True), ({"of_pixels": True}, True), ({"of_pixels": False}, False)],
)
def test_the_colours_of_a_map_as_large_as_the_picture_end_as_its_method_says(
    fabricate: Fabricate, tmp_path: Path, said: dict[str, Any], cut: bool
) -> None:
    raw = np.random.default_rng(0).random((32, 32), np.float32) ** 40

    def enlarge(found: dict[str, pd.DataFrame]) -> None:
        found["maps"] = found["maps"].assign(height=32, width=32, values=[raw.tobytes()] * len(found["maps"]))

    method = {"label": "gradcam", "name": "gradcam", "key": "gradcam", "parameters": {}, "control": False}
    result = fabricate(
        models=["net"], methods=["gradcam"], samples=1, change=enlarge, info={"methods": [method | said]}
    )
    wall = np.asarray(Image.open(hang(View(result), tmp_path)[0].path))
    picture = Image.open(io.BytesIO(result.pictures["image"][0]))
    drawn = overlay(picture, heatmap(raw, (32, 32)), of_pixels=cut)
    assert (wall[60:220, 350:510] == np.asarray(drawn.resize((160, 160), Image.Resampling.BICUBIC))).all()


def test_the_mask_is_outlined_and_not_filled() -> None:
    mask = Image.fromarray(np.pad(np.full((20, 20), 255, np.uint8), 10))
    drawn = np.asarray(outlined(Image.new("RGB", (40, 40), (90, 90, 90)), mask))
    assert (drawn[20, 20] == 90).all()
    assert (drawn[0, 0] == 90).all()
    assert (drawn[20, 9] == 255).all()
