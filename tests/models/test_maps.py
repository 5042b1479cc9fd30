"""The steps to a heat map, and an image as a picture."""

import pytest
import torch

from camfaith.models import maps

TWO = torch.tensor([[[0.0, 4.0], [8.0, 12.0]]], dtype=torch.float64)


def test_two_by_two_becomes_four_by_four_with_cell_centres_kept():
    # align_corners=False: centres at 1/4 and 3/4, so the outer quarter is flat and the inner steps are halves
    expected = torch.tensor([[[0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]]], dtype=torch.float64)
    torch.testing.assert_close(maps.upsample(TWO, (4, 4)), expected, rtol=0, atol=1e-12)


def test_rows_and_columns_are_not_mixed_up():
    assert maps.upsample(TWO, (2, 2)) is TWO
    assert maps.upsample(TWO, (2, 4)).shape == (1, 2, 4)
    torch.testing.assert_close(maps.upsample(TWO, (2, 4))[0, 0], torch.tensor([0.0, 1, 3, 4]).double())


@pytest.mark.parametrize("side", [33, 96, 97, 224, 299])
@pytest.mark.parametrize("cells", [2, 6, 7, 12])
@pytest.mark.parametrize("value", [0.3, -0.7, 1e-9])
def test_an_upsampled_constant_is_still_constant(side, cells, value):
    grown = maps.upsample(torch.full((1, cells, cells), value), (side, side))
    assert (grown == grown[0, 0, 0]).all()
    assert maps.is_constant(grown).all()


def test_each_map_is_stretched_by_its_own_extremes():
    both = torch.cat([TWO, TWO * 100 - 7])
    expected = torch.tensor([[0, 1 / 3], [2 / 3, 1]], dtype=torch.float64)
    torch.testing.assert_close(maps.normalise(both), expected.expand(2, 2, 2))


@pytest.mark.parametrize(("value", "shown"), [(3.0, 1.0), (0.0, 0.0), (-3.0, 0.0)])
def test_a_constant_map_becomes_one_where_positive_and_zero_elsewhere(value, shown):
    flat = torch.full((1, 2, 2), value)
    assert (maps.normalise(flat) == shown).all()
    assert maps.is_constant(flat).tolist() == [True]


def test_constant_maps_are_told_from_the_others():
    assert maps.is_constant(torch.cat([TWO, TWO * 0, TWO * 1e-30])).tolist() == [False, True, False]


def test_the_steps_leave_their_input_alone():
    kept = (TWO - 6).clone()
    given = kept.clone()
    maps.normalise(maps.upsample(maps.rectify(given), (5, 5)))
    assert torch.equal(given, kept)


def test_an_image_and_its_picture_are_the_same_pixels():
    picture = maps.picture_of(torch.tensor([[[0.0, 1.0]], [[0.5, 2.0]], [[-1.0, 0.2]]]))
    assert picture.size == (2, 1)
    assert [picture.getpixel((0, 0)), picture.getpixel((1, 0))] == [(0, 128, 0), (255, 255, 51)]
