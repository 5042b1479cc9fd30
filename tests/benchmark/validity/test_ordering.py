"""Grades and their order: τ as scipy has it, and degradations that do what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from camfaith.benchmark.validity.degrading import DEGRADATIONS, GRADES, Graded, noise, signs
from camfaith.benchmark.validity.networks import NETWORKS
from camfaith.benchmark.validity.ordering import kendall, mean_of, order_of
from camfaith.metrics.functional import pearson


def test_tau_is_scipys_where_nothing_ties_and_equal_scores_count_for_neither():
    means = np.random.default_rng(0).random((20, 5))
    wanted = [kendalltau(-np.arange(5), row).statistic for row in means]
    np.testing.assert_allclose(kendall(means), wanted)
    assert kendall(np.array([2.0, 1 + 1e-9, 1, 1, 0]), 1e-6) == pytest.approx(0.7)  # 7 of 10 pairs; three tie
    assert kendall(-means) == pytest.approx(-kendall(means))


def test_images_without_a_score_in_every_grade_are_left_out_and_few_have_no_order():
    scores = np.tile([5.0, 4, 3, 2, 1], (10, 1))
    scores[8:] = [1, 2, 3, 4, np.nan]
    assert (order_of(scores, 0).tau, order_of(scores, 0).images) == (1, 8)
    assert np.isnan(order_of(scores[1:], 0).tau)
    halves = mean_of([order_of(scores, 0), order_of(-scores, 1), order_of(scores[:4], 2)])
    assert (halves.tau, halves.images) == (0, 16)


def test_the_interval_is_that_of_resampled_images():
    scores = np.repeat([[2.0, 1.0], [1.0, 2.2]], [6, 4], axis=0)  # right on six of ten images, and all in all
    order = order_of(scores, 0)
    share = np.random.default_rng(1).binomial(10, 0.6, 200_000)
    assert order.tau == 1
    assert order.resampled.mean() == pytest.approx(np.sign(share - 1.2 * (10 - share)).mean(), abs=0.05)
    assert order.interval() == (-1, 1)


def test_grade_0_is_the_true_map_and_each_grade_is_further_from_it():
    known = NETWORKS["grain-4"]()
    truth = known.truth
    for name, degrade in DEGRADATIONS.items():
        maps = [Graded(known, degrade, grade).maps() for grade in range(GRADES)]
        assert torch.equal(maps[0], truth), name
        nearness = torch.stack([pearson(truth.flatten(1), each.flatten(1)).mean() for each in maps])
        assert (nearness.diff() < -1e-4).all(), name
        for each in maps:  # nothing but the signs changes what a map adds up to
            if name not in ("signs", "blur", "softening"):
                torch.testing.assert_close(each.sum((1, 2)), truth.sum((1, 2)), msg=name)


def test_noise_is_the_map_in_another_order_and_half_of_the_signs_turn_one_after_the_other():
    known = NETWORKS["planted"]()
    truth, seeds = known.truth, known.seeds
    drawn = noise(truth, 4, seeds).flatten(1)
    assert torch.equal(drawn.sort(1).values, truth.flatten(1).sort(1).values)
    turned = [(signs(truth, grade, seeds) != truth).flatten(1) for grade in range(GRADES)]
    held = (truth != 0).flatten(1).sum(1)
    for grade in range(1, GRADES):
        assert torch.equal(turned[grade].sum(1), (held * grade / 8).round().long())
        assert (turned[grade] | ~turned[grade - 1]).all()
