"""Both monotonicities by their definition, feature by feature, and what they cannot tell."""

from itertools import pairwise

import pytest
import torch
from scipy.stats import spearmanr

from camfaith.metrics import Cells, MonotonicityArya, MonotonicityNguyen
from camfaith.metrics.functional import monotonicity_arya

LABELS = torch.tensor([[0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5], [6, 6, 7, 7, 8, 8]]).repeat_interleave(2, 0)


@pytest.fixture
def scene(classifier, images, noise_maps):
    """Three images of 3×3 cells, maps with ties, and the pixels and worths of each cell."""
    pictures, maps = images(3, 6), noise_maps(3, 6, 6, levels=2)
    pixels = [(LABELS.flatten() == cell).nonzero().flatten().tolist() for cell in range(9)]
    return classifier, pictures, [0, 1, 2], maps, pixels, [[sum(m.flatten()[p].tolist()) for p in pixels] for m in maps]


def test_nguyens_is_the_rank_correlation_of_sizes_and_squared_changes(scene, slow_points):
    model, pictures, targets, maps, pixels, worths = scene
    found = MonotonicityNguyen(features=Cells(3), baseline="mean")(model, pictures, targets, maps)["correlation"]
    for i, target in enumerate(targets):
        blank = pictures[i].mean((1, 2), keepdim=True).expand_as(pictures[i])
        changes = []
        for cell in pixels:
            whole, without = slow_points(model, pictures[i], blank, target, cell, (0, len(cell)), "logit")
            changes.append((whole - without) ** 2)
        expected = spearmanr([abs(worth) for worth in worths[i]], changes).statistic
        assert float(found[i]) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(("steps", "entered"), [(64, range(1, 10)), (4, (3, 5, 7, 9))])
def test_aryas_counts_the_steps_at_which_the_score_does_not_fall(steps, entered, scene, slow_points):
    model, pictures, targets, maps, pixels, worths = scene
    seeds = torch.tensor([3, 4, 5])
    metric = MonotonicityArya(features=Cells(3), steps=steps)
    found = metric(model, pictures, targets, maps, seeds=seeds)
    for i, target in enumerate(targets):
        lots = torch.randperm(9, generator=torch.Generator().manual_seed(int(seeds[i]))).tolist()
        order = sorted(range(9), key=lambda cell, i=i, lots=lots: (worths[i][cell], lots.index(cell)))
        there = [pixel for cell in order for pixel in pixels[cell]]
        counts = [sum(len(pixels[cell]) for cell in order[:n]) for n in entered]
        black = torch.zeros_like(pictures[i])
        scores = slow_points(model, black, pictures[i], target, there, counts, "probability")
        rises = [after >= before for before, after in pairwise(scores)]
        assert float(found["rising"][i]) == pytest.approx(sum(rises) / len(rises))
        assert float(found["monotone"][i]) == float(all(rises))


def test_a_map_that_orders_what_speaks_for_the_class_by_its_worth_is_monotone_and_so_is_any_other(
    pixel_sum, noise_maps
):
    weight, white = noise_maps(1, 8, 8)[0].abs(), torch.ones(2, 3, 8, 8, dtype=torch.float64)
    metric = MonotonicityArya(features=Cells(4), score="logit")
    for maps in (weight.expand(2, 8, 8), noise_maps(2, 8, 8, seed=5)):
        assert metric(pixel_sum(weight), white, 1, maps)["monotone"].tolist() == [1, 1]
    against = weight.clone()
    against[:2, :2] *= -1  # one cell of sixteen, whose entry is a fall unless it is the first
    found = metric(pixel_sum(against), white, 1, torch.stack([against, -against]))
    assert found["monotone"].tolist() == [1, 0]
    assert found["rising"].tolist() == pytest.approx([1, 14 / 15])


def test_what_is_rounding_and_what_is_repeated_is_no_step():
    added = torch.tensor([[0.5, 1.0, 1.0], [1.0, 1.0, 1.0]])
    found = monotonicity_arya(torch.tensor([[0.3, 0.3 - 1e-9, 0.1], [0.3, 0.2, 0.1]]), added, noise=1e-6)
    assert found["rising"].tolist() == pytest.approx([1, float("nan")], nan_ok=True)
    assert found["monotone"].tolist() == pytest.approx([1, float("nan")], nan_ok=True)


def test_nguyens_is_one_for_what_a_linear_network_loses_whatever_its_sign(pixel_sum, images, noise_maps):
    weight, pictures = noise_maps(1, 8, 8)[0], images(2, 8)
    true = pictures.sum(1) * weight
    signs = torch.tensor([1.0, -1.0]).view(2, 1, 1)
    found = MonotonicityNguyen(features=Cells(4))(pixel_sum(weight), pictures, 1, signs * true)["correlation"]
    assert found.tolist() == pytest.approx([1, 1])
