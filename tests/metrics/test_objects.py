"""Several objects, counted and found by hand."""

from __future__ import annotations

import pytest
import torch

from camfaith.metrics import SeveralObjects


def plane(*rows):
    """A map or mask from digits; a dot is 0."""
    return torch.tensor([[0.0 if sign == "." else float(sign) for sign in row] for row in rows], dtype=torch.float64)


MASK = plane("11....11", "11....11", "........", "1.......", ".1...1..", "..1.....", "...1....").bool()
"""A square, another one, four pixels that touch at their corners, and one pixel alone."""


@pytest.fixture
def judge(classifier, images):
    def found(maps, masks, **settings):
        pictures = images(len(maps), *maps.shape[1:])
        return {
            k: v.tolist() for k, v in SeveralObjects(**settings)(classifier, pictures, 0, maps, masks=masks).items()
        }

    return found


@pytest.mark.parametrize(("least", "objects", "dropped"), [(1, 4, 0), (2, 3, 1), (4, 3, 1), (5, 0, 4)])
def test_objects_touch_at_sides_and_corners_and_small_ones_are_dropped_and_counted(least, objects, dropped, judge):
    found = judge(torch.rand(1, 7, 8), MASK[None], least=least)
    assert (found["objects"], found["dropped"]) == ([objects], [dropped])
    assert (found["found"][0] != found["found"][0]) == (objects == 0)


def test_found_is_the_share_of_objects_in_the_hottest_pixels_as_many_as_the_mask_has(judge):
    # Twelve pixels: ten nines, of which four are on the first square, an eight on the second, and one elsewhere.
    hot = plane("9999998.", "9999....", "8.......", "7.......", ".7......", "..7.....", "...7....")
    found = judge(hot[None], MASK[None])
    assert (found["found"], found["covered"]) == ([pytest.approx(2 / 3)], [pytest.approx((1 + 1 / 4 + 0) / 3)])
    hot[2, 0] = 1  # now four pixels of the third object share the last place
    found = judge(hot[None], MASK[None])
    assert (found["found"], found["covered"]) == ([pytest.approx(9 / 4 / 3)], [pytest.approx((1 + 1 / 4 + 1 / 4) / 3)])


def test_pixels_at_or_below_zero_are_not_hot_however_few_others_there_are(judge):
    hot = torch.zeros(2, 7, 8, dtype=torch.float64)
    hot[:, 0, 0] = 1
    hot[1] -= 0.5
    assert judge(hot, MASK.expand(2, -1, -1))["found"] == pytest.approx([1 / 3, 1 / 3])


def test_the_weakest_object_has_its_mean_against_the_masks(judge):
    hot = plane("22....66", "22....66", "........", "1.......", ".1...9..", "..1.....", "...1....")
    even, elsewhere = MASK.double(), (~MASK).double()
    found = judge(torch.stack([hot, even, elsewhere]), MASK.expand(3, -1, -1))
    assert found["weakest"][:2] == pytest.approx([1 / 3, 1])  # means 2, 6, 1; of the mask 3
    assert found["weakest"][2] != found["weakest"][2]
    assert found["found"][2] == found["covered"][2] == 0
    one = judge(hot[None], MASK[None] & (torch.arange(8) > 4))
    assert one["objects"] == [1]
    assert one["weakest"][0] != one["weakest"][0], "one object is as much as the mask"


def test_without_an_object_or_a_positive_value_there_is_nothing_to_find(judge):
    maps = torch.stack([torch.rand(7, 8), torch.zeros(7, 8), -torch.rand(7, 8), torch.rand(7, 8)])
    masks = torch.stack([torch.zeros_like(MASK), MASK, MASK, MASK])
    for given in (masks, None):
        found = judge(maps, given)
        assert [value == value for value in found["found"]] == [False, False, False, given is not None]
    assert [n == n for n in judge(maps, masks)["objects"]] == [False, True, True, True]
