"""Coherency where the second map is known, and by its definition."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import pearsonr

from camfaith.methods import GradCAM, LayerCAM
from camfaith.metrics import Coherency
from camfaith.models.maps import normalise, rectify, upsample


def shown(raw, size):
    return normalise(upsample(rectify(raw), size))


@pytest.mark.parametrize(("kind", "layer"), [(LayerCAM, "relu2"), (GradCAM, "conv2")])
def test_it_is_the_correlation_of_the_display_maps_of_the_image_and_of_what_the_map_shows(
    kind, layer, classifier, images
):
    pictures, method = images(3, 12, 17), kind(classifier, layer)
    raw = method.raw(pictures, [1, 2, 1])
    found = Coherency()(classifier, pictures, [1, 2, 1], raw, method=method)["coherency"]
    for picture, one, target, value in zip(pictures, raw, (1, 2, 1), found.tolist(), strict=True):
        first = shown(one[None], (12, 17))
        again = shown(method.raw(picture[None] * first, target), (12, 17))
        assert value == pytest.approx(pearsonr(first.flatten(), again.flatten()).statistic, rel=1e-9)


def test_a_map_that_only_squares_its_brightness_again_is_known(tiny, brightness):
    """x ⊙ M̂ has the brightness b·M̂: with b from 0 to 1 and M̂ = b, the second map is b²."""
    bright = torch.linspace(0, 1, 100, dtype=torch.float64).view(1, 1, 10, 10).expand(1, 3, 10, 10) / 3
    found = Coherency()(tiny, bright, 0, bright.sum(1), method=brightness)["coherency"]
    b = torch.linspace(0, 1, 100, dtype=torch.float64)
    assert found.item() == pytest.approx(pearsonr(b, b**2).statistic)


@pytest.mark.parametrize(("maps", "power"), [(torch.tensor(-1.0), 1), (torch.tensor(2.0), 1), (torch.eye(9), 0)])
def test_a_constant_map_correlates_with_nothing_be_it_the_first_or_the_second(maps, power, tiny, images, showing):
    method = showing(lambda images: images.sum(1) ** power)
    found = Coherency()(tiny, images(2, 9), 0, maps.expand(2, 9, 9), method=method)
    assert found["coherency"].isnan().all()
