"""The display steps: upsampling, stretching, overlay."""

import pytest
import torch
from PIL import Image

from camfaith.models import maps

TWO = torch.tensor([[[0.0, 4.0], [8.0, 12.0]]], dtype=torch.float64)


def test_two_by_two_becomes_four_by_four_with_cell_centres_kept():
    # align_corners=False: centres at 1/4 and 3/4, so the outer quarter is flat and the inner steps are halves
    expected = torch.tensor([[[0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]]], dtype=torch.float64)
    torch.testing.assert_close(maps.upsample(TWO, (4, 4)), expected, rtol=0, atol=1e-12)


def test_rows_and_columns_are_not_mixed_up():
    assert maps.upsample(TWO, (2, 4)).shape == (1, 2, 4)
    torch.testing.assert_close(maps.upsample(TWO, (2, 4))[0, 0], torch.tensor([0.0, 1, 3, 4]).double())


def test_a_map_of_the_size_asked_comes_back_as_it_is():
    assert maps.upsample(TWO, (2, 2)) is TWO


@pytest.mark.parametrize("side", [33, 96, 97, 224, 299])
@pytest.mark.parametrize("cells", [2, 6, 7, 12])
@pytest.mark.parametrize("value", [0.3, -0.7, 1e-9])
def test_an_upsampled_constant_is_still_constant(side, cells, value):
    grown = maps.upsample(torch.full((1, cells, cells), value), (side, side))
    assert (grown == grown[0, 0, 0]).all()
    assert maps.is_constant(grown).all()


def test_upsampling_stays_signed_and_between_the_smallest_and_the_largest():
    signed = torch.randn(4, 7, 7, generator=torch.Generator().manual_seed(0))
    grown = maps.upsample(signed, (97, 50))
    assert (grown.amax((1, 2)) <= signed.amax((1, 2))).all()
    assert (grown.amin((1, 2)) >= signed.amin((1, 2))).all()
    assert (grown < 0).any()


def test_rectifying_cuts_what_is_negative():
    assert maps.rectify(torch.tensor([[[-1.0, 2.0]]])).tolist() == [[[0.0, 2.0]]]


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


def test_the_overlay_has_the_size_of_the_picture_and_blends_by_its_opacity():
    picture, heatmap = Image.new("RGB", (6, 4), (10, 20, 30)), torch.tensor([[0.0, 1.0]])
    drawn = maps.overlay(picture, heatmap, colormap="gray", opacity=0.5)
    assert drawn.size == (6, 4)
    assert drawn.getpixel((0, 0)) == (5, 10, 15)
    assert all(abs(a - b) <= 1 for a, b in zip(drawn.getpixel((5, 3)), (132, 137, 142), strict=True))
    assert maps.overlay(picture, heatmap, opacity=0).tobytes() == picture.tobytes()


def test_grey_and_transparent_pictures_and_tensors_can_be_drawn_over():
    heatmap = torch.rand(3, 3)
    for mode in ("L", "RGBA", "P"):
        assert maps.overlay(Image.new(mode, (5, 7)), heatmap).size == (5, 7)
    assert maps.overlay(torch.rand(3, 7, 5), heatmap).size == (5, 7)
