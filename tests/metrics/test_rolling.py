"""Maps that go with a rolled image, maps that stay, and maps that do half of each."""

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from camfaith.metrics import ShiftResidual
from camfaith.metrics.rolling import Rolled
from camfaith.models.maps import upsample


def pooled(images):
    return avg_pool2d(images.sum(1), 4)


@pytest.fixture
def found(tiny, showing):
    def judge(shown, pictures, **settings):
        return ShiftResidual(**settings)(tiny, pictures, 0, shown(pictures), method=showing(shown))

    return judge


@pytest.mark.parametrize("shown", [lambda images: images.sum(1), pooled], ids=["pixels", "cells"])
def test_a_map_that_goes_with_the_image_leaves_nothing(shown, found, images):
    columns = found(shown, images(4, 16, 24), stride=4)
    assert columns["residual"].tolist() == pytest.approx([0] * 4, abs=1e-12)
    assert columns["residual"].min() >= 0
    assert columns["stays"].abs().max() < 0.6


def test_a_pattern_that_stays_is_a_residual_as_far_as_it_is_unlike_itself_rolled(found, images):
    (fixed,) = images(1, 16, 24, seed=4).sum(1)
    columns = found(lambda images: fixed.expand(len(images), -1, -1), images(1, 16, 24), stride=4)
    likeness = [
        np.corrcoef(fixed.ravel(), np.roll(fixed, by, (0, 1)).ravel())[0, 1] for by in ((8, 0), (0, 12), (8, 12))
    ]
    assert columns["residual"].tolist() == pytest.approx([np.mean([1 - max(0, r) ** 2 for r in likeness])])
    assert columns["stays"].tolist() == pytest.approx([1])


@pytest.mark.parametrize(("side", "stride"), [(16, 4), (18, 4)], ids=["whole cells", "parts of cells"])
def test_both_columns_are_what_their_definition_says(side, stride, found, images):
    lasting = images(1, side // 4, seed=4).sum(1)

    def shown(images):
        return avg_pool2d(images.sum(1), 4) - 2 + lasting

    columns = found(shown, images(2, side), stride=stride)
    for place, picture in enumerate(images(2, side)):
        rows = []
        for by in ((8, 0), (0, 8), (8, 8)):
            before, after = shown(picture[None]), shown(picture.roll(by, (1, 2))[None])
            if side == 18:
                before, after = (interpolate(each[None], (18, 18), mode="bilinear")[0] for each in (before, after))
            by = by if side == 18 else tuple(move // 4 for move in by)
            moves, stays = (
                np.corrcoef(each.ravel(), after.numpy().ravel())[0, 1]
                for each in (np.roll(before.numpy(), by, (1, 2)), before.numpy())
            )
            rows.append((1 - max(0, moves) ** 2, stays))
        assert [float(value[place]) for value in columns.values()] == pytest.approx(np.mean(rows, 0).tolist())


def test_maps_that_were_enlarged_are_compared_at_the_images_size(found, tiny, images, showing):
    def enlarged(images):
        return upsample(pooled(images), (16, 16))

    pictures = images(2, 16)
    judged = ShiftResidual(stride=4)(tiny, pictures, 0, enlarged(pictures), method=showing(pooled))
    torch.testing.assert_close(judged, found(enlarged, pictures, stride=4))


@pytest.mark.parametrize(
    ("side", "stride", "roll"),
    [(224, 32, 128), (96, 32, 64), (64, 32, 32), (63, 32, 16), (11, 32, 4), (6, 1, 3), (1, 32, 0)],
)
def test_an_image_is_rolled_by_whole_strides_about_half_way(side, stride, roll):
    assert Rolled(stride).rolls((side, side)) == [(roll, 0), (0, roll), (roll, roll)]
