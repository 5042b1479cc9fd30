"""Sparseness of maps whose Gini, entropy and effective size are known."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import entropy

from camfaith.metrics import Sparseness

N = 20


def judge(model, images, maps):
    return Sparseness()(model, images(len(maps), 4, 5), 0, maps)


@pytest.mark.parametrize("count", [1, 5, N])
def test_of_equal_pixels_all_three_are_known(count, classifier, images):
    maps = torch.zeros(1, N)
    maps[0, torch.randperm(N)[:count]] = 0.7
    found = judge(classifier, images, maps.view(1, 4, 5))
    assert found["gini"].item() == pytest.approx(1 - count / N)
    assert found["entropy"].item() == pytest.approx(math.log(count) / math.log(N))
    assert found["effective_size"].item() == pytest.approx(count / N)


def test_they_are_what_their_definitions_say(classifier, images, noise_maps):
    maps = noise_maps(5, 4, 5)
    found = judge(classifier, images, maps)
    for place, values in enumerate(maps.flatten(1).tolist()):
        mass = sorted(max(value, 0.0) for value in values)
        # Hurley & Rickard 2009, table I: c ascending, k from 1
        gini = 1 - 2 * sum(c / sum(mass) * (N - k + 0.5) / N for k, c in enumerate(mass, 1))
        assert found["gini"][place].item() == pytest.approx(gini)
        assert found["entropy"][place].item() == pytest.approx(entropy(mass) / math.log(N))
        assert found["effective_size"][place].item() == pytest.approx(math.exp(entropy(mass)) / N)


def test_a_map_without_positive_values_has_none(classifier, images):
    for value in judge(classifier, images, torch.stack([torch.zeros(4, 5), -torch.rand(4, 5)])).values():
        assert value.isnan().all()
