"""ROAD against one sparse system per image and percentile, and where imputing pixels changes nothing."""

import copy
import math

import pytest
import torch

from camfaith.metrics import ROAD, Case, Engine, Maps
from camfaith.metrics.probing.baselines import Linear

CLOSE = 1e-4
"""How far an imputed pixel may be from the exact solution: the solver stops within some 10⁻⁵ of it."""


@pytest.mark.parametrize("score", ["probability", "logit"])
def test_every_column_is_that_of_one_sparse_system_at_a_time(
    score, classifier, images, noise_maps, slow_order, slow_score, slow_imputed, worked_out
):
    metric = ROAD(percentiles=(10, 45, 90), score=score, seed=2)
    pictures, maps = images(3, 9, 8), noise_maps(3, 9, 8, levels=6)
    seeds, targets = torch.tensor([4, 5, 4]), [0, 1, 2]
    line, found = worked_out(metric, classifier, pictures, targets, maps, seeds=seeds)
    noise = Linear(0.01, 2)(torch.zeros_like(pictures), seeds)
    counts = [math.ceil(p * 72 / 100) for p in (10, 45, 90)]
    assert line.x.tolist() == pytest.approx([0, *(count / 72 for count in counts)])
    for i, target in enumerate(targets):
        order, curves = slow_order(maps[i], int(seeds[i])), []
        for leaving in (order, order[::-1]):
            curve = []
            for count in counts:
                gone = torch.tensor([pixel in leaving[:count] for pixel in range(72)]).view(9, 8)
                altered = torch.where(gone, slow_imputed(pictures[i], gone) + noise[i], pictures[i])
                curve.append(slow_score(classifier, altered, target, score))
            curves.append(curve)
        morf, lerf = (sum(curve) / 3 for curve in curves)
        whole = slow_score(classifier, pictures[i], target, score)
        assert line.y[i].tolist() == pytest.approx([whole, *curves[0]], abs=CLOSE)
        columns = [float(found[name][i]) for name in ("morf", "lerf", "road")]
        assert columns == pytest.approx([morf, lerf, (lerf - morf) / 2], abs=CLOSE)


def test_exactly_the_asked_share_is_altered_even_where_most_values_tie(tiny, images, noise_maps, watched):
    pictures, maps = images(3, 10), noise_maps(3, 10, 10).clamp(min=0.5)
    assert ((maps == 0.5).double().mean((1, 2)) > 0.6).all()
    seen = watched(tiny)
    ROAD(percentiles=(0.5, 10, 33, 90, 98.5))(tiny, pictures, 0, maps)
    changed = torch.cat(seen[1:]).view(2, 3, 5, 3, 10, 10) != pictures[None, :, None]  # MoRF and LeRF first
    assert torch.equal(changed.all(3), changed.any(3))  # in all colours, or, bit by bit, in none
    for order in changed.all(3):
        assert order.sum((2, 3)).tolist() == [[1, 10, 33, 90, 99]] * 3


@pytest.mark.parametrize(
    ("percentiles", "pixels", "counts"),
    [((10, 90), 50176, (5018, 45159)), ((16.1,), 1000, (161,)), ((7, 7.001), 100, (7, 8)), ((0.1,), 10, (1,))],
)
def test_counts_are_rounded_up_and_decimals_are_meant_as_written(percentiles, pixels, counts):
    assert ROAD(percentiles=percentiles).probes(None, pixels)[0].removed(pixels) == counts


def test_a_ramp_is_filled_in_as_it_was(pixel_sum, worked_out):
    """The weights are symmetric: a hole inside of a linear ramp gets the ramp back, and a linear model misses none."""
    ramp = torch.arange(8.0, dtype=torch.float64) / 8
    image = (ramp[:, None] / 2 + ramp / 3).expand(1, 3, 8, 8)
    maps = torch.zeros(1, 8, 8)
    maps[0, 2:5, 3:6] = torch.rand(3, 3) + 1
    weight = torch.zeros(8, 8)
    weight[3, 4] = 1
    line, _ = worked_out(ROAD(percentiles=(10,), noise=0, score="logit"), pixel_sum(weight), image, 1, maps)
    assert line.y[0].tolist() == pytest.approx([float(image[0, :, 3, 4].sum())] * 2, abs=CLOSE)


def test_the_noise_is_gaussian_and_belongs_to_the_image_and_to_the_seeds():
    drawn = Linear(0.03)(torch.zeros(3, 3, 100, 100), torch.tensor([7, 8, 7]))
    assert float(drawn.std()) == pytest.approx(0.03, rel=0.02)
    assert abs(float(drawn.mean())) < 4 * 0.03 / 60_000**0.5
    assert float((drawn.abs() < 0.03).double().mean()) == pytest.approx(0.6827, abs=0.01)
    first, other, again = drawn
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, Linear(0.03, seed=1)(torch.zeros(1, 3, 100, 100), torch.tensor([7]))[0])
    assert not torch.equal(first[0], first[1])


def test_a_network_in_half_precision_is_given_what_was_imputed_in_single(tiny, images, noise_maps, watched):
    pictures, maps = images(2, 9).bfloat16(), noise_maps(2, 9, 9)
    given = []
    for network, of in ((tiny, torch.float32), (copy.deepcopy(tiny), torch.bfloat16)):
        seen = watched(network.to(of))
        assert ROAD()(network, pictures, 0, maps)["road"].isfinite().all()
        given.append(torch.cat(seen[1:]))
    assert given[1].dtype == torch.bfloat16
    torch.testing.assert_close(given[1].float(), given[0].bfloat16().float(), atol=0.01, rtol=0)


def test_equal_orders_are_imputed_once(classifier, images, noise_maps, watched):
    case, seen = Case.of(classifier, images(3, 9), 0), watched(classifier.network)
    maps, probes = noise_maps(3, 9, 9), ROAD().probes(None, 81)
    Engine(classifier).answer(case, {"one": (Maps(maps, case), probes), "same order": (Maps(maps.exp(), case), probes)})
    assert sum(map(len, seen)) == 3 * 2 * 9


def test_percentiles_are_put_in_order_and_must_leave_a_pixel():
    assert ROAD(percentiles=(50, 10, 50)) == ROAD(percentiles=[10, 50])
    with pytest.raises(ValueError, match="percentile 90 leaves none of 4 pixels"):
        ROAD().probes(None, 4)
