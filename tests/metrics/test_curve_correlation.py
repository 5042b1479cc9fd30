"""Deletion and insertion correlation in closed form, step by step from the paper, and at no forward of their own."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from camfaith.metrics import Case, Deletion, DeletionCorrelation, Engine, Insertion, InsertionCorrelation, Maps

BOTH = [(DeletionCorrelation, Deletion), (InsertionCorrelation, Insertion)]


@pytest.mark.parametrize(("kind", "_curve"), BOTH)
def test_of_a_linear_model_the_worth_of_pixels_correlates_fully(kind, _curve, climbing):
    model, image, worth = climbing
    metric = kind(steps=12, score="logit", baseline="black")
    for maps, expected in ((worth, 1), (3 * worth - 40, 1), (-worth, -1), (worth.square(), np.nan)):
        if expected != expected:  # pixel p is worth p + 1, the map says (p + 1)²
            expected = np.corrcoef(np.arange(1, 13), np.arange(1, 13) ** 2)[0, 1]
        assert float(metric(model, image, 1, maps)["correlation"]) == pytest.approx(expected)


@pytest.mark.parametrize(("kind", "_curve"), BOTH)
@pytest.mark.parametrize(("steps", "score"), [(5, "probability"), (42, "logit")])
def test_each_step_is_set_against_the_mean_of_the_map_over_its_pixels(
    kind, _curve, steps, score, classifier, images, noise_maps, slow_order, slow_points
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


@pytest.mark.parametrize(("kind", "_curve"), BOTH)
def test_a_score_that_moves_by_its_rounding_alone_correlates_with_nothing(kind, _curve, pixel_sum, images):
    model = pixel_sum(torch.full((6, 6), 3e-8), bias=3.0).float()
    found = kind(steps=6)(model, images(2, 6).float(), 1, torch.rand(2, 6, 6))["correlation"]
    assert found.isnan().all()


@pytest.mark.parametrize(("kind", "curve"), BOTH)
def test_beside_the_curve_it_asks_nothing(kind, curve, classifier, images, noise_maps):
    case, costs = Case.of(classifier, images(2, 9), 1), []
    for metrics in ([curve()], [curve(), kind()]):
        engine = Engine(classifier)
        probes = [probe for metric in metrics for probe in metric.probes(None, case.pixels)]
        engine.answer(case, {"it": (Maps(noise_maps(2, 9, 9), case), probes)})
        costs.append(engine.meter.forwards)
    assert costs[0] == costs[1] > 0
