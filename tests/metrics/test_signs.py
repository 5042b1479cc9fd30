"""Signed removal on a network that is a weighted sum of the pixels, where every sign is known."""

from __future__ import annotations

import pytest
import torch

from camfaith.metrics import SignedRemoval, find

SIDE = 10


@pytest.fixture
def weight():
    """Each pixel's worth for the class: two thirds of the rows speak for it, the rest against."""
    return torch.linspace(2, -1, SIDE * SIDE, dtype=torch.float64)[torch.randperm(SIDE * SIDE)].view(SIDE, SIDE)


@pytest.mark.parametrize("baseline", ["black", "mean"])
def test_a_map_of_the_worth_loses_with_its_top_and_gains_without_its_bottom(baseline, pixel_sum, images, weight):
    pictures = images(3, SIDE)
    blank = torch.zeros_like(pictures) if baseline == "black" else pictures.mean((2, 3), keepdim=True)
    worth = weight * (pictures - blank).sum(1)
    found = SignedRemoval(share=0.3, baseline=baseline)(pixel_sum(weight, 5.0), pictures, 1, worth)
    ordered = worth.flatten(1).sort(1).values
    assert found["top_drop"].tolist() == pytest.approx(ordered[:, -30:].sum(1).tolist())
    assert found["bottom_rise"].tolist() == pytest.approx((-ordered[:, :30].sum(1)).tolist())
    assert found["negative"].tolist() == pytest.approx([float((one < 0).double().mean()) for one in worth])
    assert min(found["top_drop"].tolist() + found["bottom_rise"].tolist()) > 0
    opposite = SignedRemoval(share=0.3, baseline=baseline)(pixel_sum(weight, 5.0), pictures, 1, -worth)
    assert opposite["top_drop"].tolist() == pytest.approx((-found["bottom_rise"]).tolist())


def test_a_map_that_says_nothing_below_draws_its_bottom_there_by_the_images_lottery(
    pixel_sum, images, weight, slow_order, slow_score
):
    pictures, seeds = images(2, SIDE), torch.tensor([3, 8])
    shown = weight.clamp(min=1).expand(2, -1, -1)
    model = pixel_sum(weight)
    found = SignedRemoval()(model, pictures, 1, shown, seeds=seeds)
    blurred = find("insertion")().baseline(pictures, seeds)
    for place, picture in enumerate(pictures):
        order = slow_order(shown[place], int(seeds[place]))
        for column, gone, way in (("top_drop", order[:20], 1), ("bottom_rise", order[-20:], -1)):
            altered = picture.clone()
            for pixel in gone:
                altered[:, pixel // SIDE, pixel % SIDE] = blurred[place][:, pixel // SIDE, pixel % SIDE]
            expected = way * (slow_score(model, picture, 1, "logit") - slow_score(model, altered, 1, "logit"))
            assert found[column][place].item() == pytest.approx(expected)
    assert found["negative"].tolist() == [0, 0]


def test_it_asks_two_images_for_each_order_of_pixels(tiny, images, watched):
    seen = watched(tiny)
    SignedRemoval()(tiny, images(3, SIDE), 0, torch.rand(3, SIDE, SIDE))
    assert sum(map(len, seen)) == 3 + 3 * 2
    (probe,) = SignedRemoval(share=0.001).probes(None, 100)
    assert (probe.count(100), probe.reads) == (2, "ranks")
