"""How maps are drawn: enlarged as torch does it, in colour over grey, or with both signs."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from camfaith.models import display, maps

RANDOM = np.random.default_rng(0)


def test_the_overlay_has_the_size_of_the_picture_and_blends_by_its_opacity():
    picture, heatmap = Image.new("RGB", (6, 4), (20, 20, 20)), np.array([[0.0, 1.0]])
    drawn = display.overlay(picture, heatmap, colormap="gray", opacity=0.5)
    assert drawn.size == (6, 4)
    assert drawn.getpixel((0, 0)) == (10, 10, 10)
    assert all(abs(a - 137) <= 1 for a in drawn.getpixel((5, 3)))
    assert display.overlay(picture, heatmap, opacity=0).tobytes() == picture.tobytes()


def test_every_hue_of_an_overlay_is_the_maps():
    heatmap = np.linspace(0, 1, 9)[None]
    coloured = Image.fromarray(RANDOM.integers(0, 256, (5, 9, 3), np.uint8))
    assert display.overlay(coloured, heatmap).tobytes() == display.overlay(coloured.convert("L"), heatmap).tobytes()
    assert (np.ptp(np.asarray(display.overlay(coloured, heatmap, colormap="gray")).astype(int), axis=2) == 0).all()


@pytest.mark.parametrize("size", [(7, 7), (97, 50), (7, 224), (3, 20)])
@pytest.mark.parametrize("cells", [(7, 7), (1, 1), (2, 12), (14, 9)])
def test_a_heat_map_is_that_of_the_steps_on_tensors(cells, size):
    raw = torch.from_numpy(RANDOM.normal(size=(1, *cells)))
    np.testing.assert_allclose(display.upsample(raw[0], size), maps.upsample(raw, size)[0], rtol=0, atol=1e-12)
    expected = maps.normalise(maps.upsample(maps.rectify(raw), size))[0]
    np.testing.assert_allclose(display.heatmap(raw[0], size), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cells", [2, 6, 7, 12])
@pytest.mark.parametrize(("value", "shown"), [(0.0, 0), (-3.0, 0), (0.3, 1), (1e-9, 1)])
def test_a_constant_map_is_full_where_positive_else_nothing(value, shown, cells):
    for side in (33, 96, 97, 224, 299):
        assert (display.heatmap(np.full((cells, cells), value, np.float32), (side, side)) == shown).all()


@pytest.mark.parametrize(
    ("said", "shape", "found"), [(None, (4, 6), True), (None, (6, 4), False), (False, (4, 6), False)]
)
def test_a_map_as_large_as_the_picture_is_of_pixels_unless_its_method_says_otherwise(said, shape, found):
    assert display.is_of_pixels(said, np.zeros(shape), Image.new("L", (6, 4))) is found


@pytest.mark.parametrize("factor", [1, -1e-20])
def test_a_scale_ends_where_the_share_asked_for_does_not_pass(factor):
    rising = np.random.default_rng(0).permutation(np.arange(1.0, 1001)).reshape(40, 25)
    assert display.scale_end(rising * factor) == pytest.approx(1000 * abs(factor))
    assert display.scale_end(rising * factor, of_pixels=True) == pytest.approx(995 * abs(factor))
    scaled = display.scaled(rising * factor, of_pixels=True) * np.sign(factor)
    assert (scaled == 1).sum() == 6
    np.testing.assert_allclose(scaled, np.minimum(rising / 995, 1))


@pytest.mark.parametrize(("lit", "end"), [(6, 2), (5, 4)])
def test_where_fewer_pixels_than_are_left_out_have_anything_the_greatest_ends_the_scale(lit, end):
    sparse = np.zeros((1, 1000))
    sparse[0, :lit] = 2
    sparse[0, 0] = 4
    assert display.scale_end(sparse, of_pixels=True) == end


def test_one_pixel_does_not_set_the_scale_of_a_map_of_pixels():
    spiked = np.full((40, 10), 0.01)
    spiked[0], spiked[1, 0] = 0, 1
    picture, plain = Image.new("L", (10, 40)), spiked > 0
    assert display.overlay(picture, spiked, of_pixels=True).tobytes() == display.overlay(picture, plain).tobytes()
    assert display.overlay(picture, spiked).getpixel((3, 3)) != display.overlay(picture, plain).getpixel((3, 3))
    found = display.overlay_signed(picture, -spiked, of_pixels=True)
    assert found.tobytes() == display.overlay_signed(picture, -1.0 * plain).tobytes()


GREY, LIGHTER = (120, 120, 120), (154, 154, 154)  # a quarter of the way to white


def signed_pixels(picture, signed, **settings):
    drawn = display.overlay_signed(picture, np.asarray(signed, float), **settings)
    return np.asarray(drawn).astype(int)


def mixed(colour, share, ground=LIGHTER):
    return [round((1 - share) * g + share * c) for g, c in zip(ground, colour, strict=True)]


def test_evidence_for_is_red_and_against_is_blue_and_none_leaves_the_picture():
    drawn = signed_pixels(Image.new("RGB", (3, 1), GREY), [[3, 0, -3]], opacity=1)
    assert drawn.tolist() == [[[180, 4, 38], [154, 154, 154], [59, 76, 192]]]


@pytest.mark.parametrize(
    ("signed", "shares"),
    [
        ([[4, -1]], (1, -0.25)),
        ([[1, -4]], (0.25, -1)),
        ([[4, 1]], (1, 0.25)),
        ([[2, -2]], (1, 0.5, -0.5, -1)),  # enlarged before it is coloured
        ([[0, 8, 0]], (0, 0.25, 0.75, 0.75, 0.25, 0)),  # the scale is the given map's: neither half reaches the top
    ],
)
def test_both_signs_have_the_scale_of_the_largest_of_them(signed, shares):
    picture, given = Image.new("RGB", (len(shares), 1), GREY), np.asarray(signed, float)
    drawn = signed_pixels(picture, given, opacity=0.8)[0]
    assert (given == signed).all()
    assert picture == Image.new("RGB", (len(shares), 1), GREY)
    for pixel, share in zip(drawn, shares, strict=True):
        expected = mixed(display.FOR if share > 0 else display.AGAINST, 0.8 * abs(share))
        assert abs(pixel - expected).max() <= 1


@pytest.mark.parametrize("factor", [1e-300, 1e-9, 1e300])
def test_the_size_of_a_signed_maps_numbers_does_not_show(factor):
    picture, signed = Image.new("RGB", (5, 5), GREY), RANDOM.normal(size=(3, 3))
    assert (
        display.overlay_signed(picture, signed * factor).tobytes() == display.overlay_signed(picture, signed).tobytes()
    )


def test_a_map_of_zeros_leaves_the_picture_in_light_grey():
    picture = Image.new("RGB", (2, 1), (200, 90, 10))
    picture.putpixel((0, 0), (0, 0, 0))
    grey = picture.convert("L").getpixel((1, 0))
    drawn = signed_pixels(picture, [[0, 0]])[0]
    assert drawn[0].tolist() == [64, 64, 64]
    assert drawn[1].tolist() == [round(0.75 * grey + 0.25 * 255)] * 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_signed_map_that_is_not_finite_is_not_drawn(value):
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        display.overlay_signed(Image.new("RGB", (2, 2)), np.array([[1.0, value]]))


def lab(colour):
    """CIELAB under D65 of 8-bit sRGB."""
    c = np.asarray(colour, float) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(linear @ to_xyz.T / (0.9505, 1, 1.089))  # all colours here are far from black
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_evidence_for_and_against_differ_in_hue_and_not_in_lightness():
    red, blue = lab(display.FOR), lab(display.AGAINST)
    assert abs(red[0] - blue[0]) < 2
    assert np.hypot(*(red - blue)[1:]) > 90


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("ground", [0, 90, 130, 255])
def test_equal_steps_of_evidence_are_nearly_equal_steps_of_colour(sign, ground):
    picture = Image.new("RGB", (11, 1), (ground,) * 3)
    colours = [lab(pixel) for pixel in signed_pixels(picture, sign * np.linspace(0, 1, 11)[None])[0]]
    steps = [np.linalg.norm(after - before) for before, after in itertools.pairwise(colours)]
    assert max(steps) < 1.6 * min(steps)
