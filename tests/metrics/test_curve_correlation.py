"""Deletion and insertion correlation in closed form, step by step from the paper, and where nothing moves."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from camfaith.metrics import DeletionCorrelation, InsertionCorrelation

BOTH = pytest.mark.parametrize("kind", [DeletionCorrelation, InsertionCorrelation])


@BOTH
def test_of_a_linear_model_the_worth_of_pixels_correlates_fully(kind, climbing):
    model, image, worth = climbing
    metric = kind(steps=12, score="logit", baseline="black")
    for maps, expected in ((worth, 1), (3 * worth - 40, 1), (-worth, -1), (worth.square(), np.nan)):
        if expected != expected:  # pixel p is worth p + 1, the map says (p + 1)²
            expected = np.corrcoef(np.arange(1, 13), np.arange(1, 13) ** 2)[0, 1]
        assert float(metric(model, image, 1, maps)["correlation"]) == pytest.approx(expected)


@BOTH
@pytest.mark.parametrize(("steps", "score"), [(5, "probability"), (42, "logit")])
def test_each_step_is_set_against_the_mean_of_the_map_over_its_pixels(
    kind, steps, score, classifier, images, noise_maps, slow_order, slow_points
):
    pictures, maps, seeds = images(3, 6, 7), noise_maps(3, 6, 7, levels=6), torch.tensor([0, 1, 0])
    metric = kind(steps=steps, score=score, baseline="mean")
    found = metric(classifier, pictures, [0, 1, 2], maps, seeds=seeds)["correlation"]
    blanks, counts = metric.baseline(pictures, seeds), [-(-i * 42 // steps) for i in range(steps + 1)]
    for i in range(3):
        order, ends = slow_order(maps[i], int(seeds[i])), (pictures[i], blanks[i])
        start, other = ends if kind is DeletionCorrelation else ends[::-1]
        scores = np.array(slow_points(classifier, start, other, i, order, counts, score))
        values = maps[i].flatten()[order].numpy()
        means = [values[a:b].mean() for a, b in pairwise(counts)]
        changes = -np.diff(scores) if kind is DeletionCorrelation else np.diff(scores)
        assert float(found[i]) == pytest.approx(np.corrcoef(changes, means)[0, 1], abs=1e-8)


@BOTH
def test_a_score_that_moves_by_its_rounding_alone_correlates_with_nothing(kind, pixel_sum, images):
    model = pixel_sum(torch.full((6, 6), 3e-8), bias=3.0).float()
    found = kind(steps=6)(model, images(2, 6).float(), 1, torch.rand(2, 6, 6))["correlation"]
    assert found.isnan().all()
