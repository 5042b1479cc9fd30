"""Signed removal on a network that is a weighted sum of the pixels, where every sign is known."""

from __future__ import annotations

import pytest
import torch

from camfaith.metrics import SignedRemoval, find

SIDE = 10


@pytest.fixture
def weight():
    """Each pixel's worth for the class: two thirds of the pixels speak for it, the rest against."""
    return torch.linspace(2, -1, SIDE * SIDE, dtype=torch.float64)[torch.randperm(SIDE * SIDE)].view(SIDE, SIDE)


@pytest.mark.parametrize("baseline", ["black", "mean"])
def test_a_map_of_the_worth_loses_with_its_top_and_gains_without_its_bottom(baseline, pixel_sum, images, weight):
    pictures = images(3, SIDE)
    blank = torch.zeros_like(pictures) if baseline == "black" else pictures.mean((2, 3), keepdim=True)
    worth = weight * (pictures - blank).sum(1)
    ordered, metric = worth.flatten(1).sort(1).values, SignedRemoval(share=0.299, baseline=baseline)
    found = metric(pixel_sum(weight, 5.0), pictures, 1, worth)
    assert found["top_drop"].tolist() == pytest.approx(ordered[:, -30:].sum(1).tolist())
    assert found["bottom_rise"].tolist() == pytest.approx((-ordered[:, :30].sum(1)).tolist())
    assert found["negative"].tolist() == pytest.approx([float((one < 0).double().mean()) for one in worth])
    assert min(found["top_drop"].tolist() + found["bottom_rise"].tolist()) > 0


def test_a_map_that_says_nothing_below_draws_its_bottom_there_by_the_images_lottery(
    pixel_sum, images, weight, slow_order, slow_points, worked_out
):
    """What a method's ReLU hides is counted all the same."""
    pictures, seeds, model = images(2, SIDE), torch.tensor([3, 8]), pixel_sum(weight)
    raw = torch.where(weight < 1.2, weight - 1, 0.0).expand(2, -1, -1)
    _, found = worked_out(SignedRemoval(), model, pictures, 1, raw, seeds=seeds, rectified=True)
    blurred = find("insertion")().baseline(pictures, seeds)
    for place, (picture, blank) in enumerate(zip(pictures, blurred, strict=True)):
        order = slow_order(raw[place].clamp(min=0), int(seeds[place]))
        whole, without_top = slow_points(model, picture, blank, 1, order, (0, 20), "logit")
        (without_bottom,) = slow_points(model, picture, blank, 1, order[::-1], (20,), "logit")
        assert found["top_drop"][place].item() == pytest.approx(whole - without_top)
        assert found["bottom_rise"][place].item() == pytest.approx(without_bottom - whole)
    assert found["negative"].tolist() == [float((weight < 1).double().mean())] * 2


def test_it_asks_two_images_for_each_order_of_pixels_and_takes_one_pixel_at_least(tiny, images, watched):
    seen = watched(tiny)
    SignedRemoval(share=0.001)(tiny, images(3, SIDE), 0, torch.rand(3, SIDE, SIDE))
    altered = torch.cat(seen[1:]).view(3, 2, 3, SIDE, SIDE) != seen[0][:, None]
    assert altered.any(2).sum((2, 3)).tolist() == [[1, 1]] * 3
