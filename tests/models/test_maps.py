"""The display steps: upsampling, stretching, overlay."""

import itertools

import numpy as np
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
    picture, heatmap = Image.new("RGB", (6, 4), (20, 20, 20)), torch.tensor([[0.0, 1.0]])
    drawn = maps.overlay(picture, heatmap, colormap="gray", opacity=0.5)
    assert drawn.size == (6, 4)
    assert drawn.getpixel((0, 0)) == (10, 10, 10)
    assert all(abs(a - 137) <= 1 for a in drawn.getpixel((5, 3)))
    assert maps.overlay(picture, heatmap, opacity=0).tobytes() == picture.tobytes()


def test_every_hue_of_an_overlay_is_the_maps():
    heatmap = torch.linspace(0, 1, 9)[None]
    coloured = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 9, 3), np.uint8))
    assert maps.overlay(coloured, heatmap).tobytes() == maps.overlay(coloured.convert("L"), heatmap).tobytes()
    assert (np.ptp(np.asarray(maps.overlay(coloured, heatmap, colormap="gray")).astype(int), axis=2) == 0).all()


def test_a_scale_ends_where_the_share_asked_for_does_not_pass():
    rising = torch.arange(1.0, 1001)[torch.randperm(1000, generator=torch.Generator().manual_seed(0))].view(1, 40, 25)
    both = torch.cat([rising, -rising * 1e-20])
    assert maps.reach(both)[:, 0, 0].tolist() == pytest.approx([1000, 1e-17])
    assert maps.reach(both, 0.995)[:, 0, 0].tolist() == pytest.approx([995, 9.95e-18])
    balanced = maps.balance(both, 0.995)
    assert (balanced[0] == 1).sum() == (balanced[1] == -1).sum() == 6
    torch.testing.assert_close(balanced[0].clamp(max=0.9), (rising[0] / 995).clamp(max=0.9))


@pytest.mark.parametrize(("lit", "end"), [(6, 2), (5, 4)])
def test_where_fewer_pixels_than_are_left_out_have_anything_the_greatest_ends_the_scale(lit, end):
    sparse = torch.zeros(1, 1000)
    sparse[0, :lit] = 2
    sparse[0, 0] = 4
    assert float(maps.reach(sparse[None], 0.995)) == end


def test_one_pixel_does_not_set_the_scale_of_a_map_of_pixels():
    spiked = torch.full((1, 40, 10), 0.01)
    spiked[0, 0], spiked[0, 1, 0] = 0, 1
    picture, plain = Image.new("L", (10, 40)), (spiked[0] > 0).float()
    assert maps.overlay(picture, spiked[0], quantile=0.995).tobytes() == maps.overlay(picture, plain).tobytes()
    assert maps.overlay(picture, spiked[0]).getpixel((3, 3)) != maps.overlay(picture, plain).getpixel((3, 3))
    found = maps.overlay_signed(picture, -spiked[0], quantile=0.995)
    assert found.tobytes() == maps.overlay_signed(picture, -plain).tobytes()


def test_grey_and_transparent_pictures_and_tensors_can_be_drawn_over():
    heatmap = torch.rand(3, 3)
    for mode in ("L", "RGBA", "P"):
        assert maps.overlay(Image.new(mode, (5, 7)), heatmap).size == (5, 7)
    assert maps.overlay(torch.rand(3, 7, 5), heatmap).size == (5, 7)


GREY, LIGHTER = (120, 120, 120), (154, 154, 154)  # a quarter of the way to white


def signed_pixels(picture, signed, **settings):
    drawn = maps.overlay_signed(picture, torch.as_tensor(signed, dtype=torch.float64), **settings)
    return np.asarray(drawn).astype(int)


def mixed(colour, share, ground=LIGHTER):
    return [round((1 - share) * g + share * c) for g, c in zip(ground, colour, strict=True)]


def test_evidence_for_is_red_and_against_is_blue_and_none_leaves_the_picture():
    drawn = signed_pixels(Image.new("RGB", (3, 1), GREY), [[3, 0, -3]], opacity=1)
    assert drawn.tolist() == [[[180, 4, 38], [154, 154, 154], [59, 76, 192]]]


@pytest.mark.parametrize(("signed", "shares"), [([[4, -1]], (1, 0.25)), ([[1, -4]], (0.25, 1)), ([[4, 1]], (1, 0.25))])
def test_both_signs_have_the_scale_of_the_largest_of_them(signed, shares):
    drawn = signed_pixels(Image.new("RGB", (2, 1), GREY), signed, opacity=0.8)[0]
    for pixel, value, share in zip(drawn, signed[0], shares, strict=True):
        expected = mixed(maps.FOR if value > 0 else maps.AGAINST, 0.8 * share)
        assert abs(pixel - expected).max() <= 1


def test_a_signed_map_is_enlarged_before_it_is_coloured():
    drawn = signed_pixels(Image.new("RGB", (4, 1), GREY), [[2, -2]], opacity=1)[0]
    for pixel, (colour, share) in zip(
        drawn, [(maps.FOR, 1), (maps.FOR, 0.5), (maps.AGAINST, 0.5), (maps.AGAINST, 1)], strict=True
    ):
        assert abs(pixel - mixed(colour, share)).max() <= 1


def test_the_scale_is_that_of_the_map_as_it_is_given():
    drawn = signed_pixels(Image.new("RGB", (6, 1), GREY), [[0, 8, 0]], opacity=1)[0]
    assert abs(drawn[2] - mixed(maps.FOR, 0.75)).max() <= 1  # its cell is cut in two, and neither half reaches the top


@pytest.mark.parametrize("factor", [1e-300, 1e-9, 1e300])
def test_the_size_of_a_signed_maps_numbers_does_not_show(factor):
    picture, signed = Image.new("RGB", (5, 5), GREY), torch.randn(3, 3, dtype=torch.float64)
    assert maps.overlay_signed(picture, signed * factor).tobytes() == maps.overlay_signed(picture, signed).tobytes()


def test_a_map_of_zeros_leaves_the_picture_in_light_grey():
    picture = Image.new("RGB", (2, 1), (200, 90, 10))
    picture.putpixel((0, 0), (0, 0, 0))
    grey = picture.convert("L").getpixel((1, 0))
    drawn = signed_pixels(picture, [[0, 0]])[0]
    assert drawn[0].tolist() == [64, 64, 64]
    assert drawn[1].tolist() == [round(0.75 * grey + 0.25 * 255)] * 3


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_signed_map_that_is_not_finite_is_not_drawn(value):
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        maps.overlay_signed(Image.new("RGB", (2, 2)), torch.tensor([[1.0, value]]))


def lab(colour):
    """CIELAB under D65 of 8-bit sRGB."""
    c = np.asarray(colour, float) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(linear @ to_xyz.T / (0.9505, 1, 1.089))  # all colours here are far from black
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_evidence_for_and_against_differ_in_hue_and_not_in_lightness():
    red, blue = lab(maps.FOR), lab(maps.AGAINST)
    assert abs(red[0] - blue[0]) < 2
    assert np.hypot(*(red - blue)[1:]) > 90


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("ground", [0, 90, 130, 255])
def test_equal_steps_of_evidence_are_nearly_equal_steps_of_colour(sign, ground):
    picture = Image.new("RGB", (11, 1), (ground,) * 3)
    colours = [lab(pixel) for pixel in signed_pixels(picture, sign * torch.linspace(0, 1, 11)[None])[0]]
    steps = [np.linalg.norm(after - before) for before, after in itertools.pairwise(colours)]
    assert max(steps) < 1.6 * min(steps)


def test_drawing_leaves_the_map_and_the_picture_alone():
    picture, signed = Image.new("RGB", (4, 4), (200, 90, 10)), torch.randn(2, 2)
    kept = signed.clone(), picture.tobytes()
    maps.overlay_signed(picture, signed)
    assert torch.equal(signed, kept[0])
    assert picture.tobytes() == kept[1]
