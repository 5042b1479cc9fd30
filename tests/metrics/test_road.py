"""ROAD against one sparse system per image and percentile, and where imputing pixels changes nothing."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve
from torch import nn

from camfaith.metrics import ROAD, Engine
from camfaith.metrics.probing.case import Case, Maps
from camfaith.metrics.road import GaussianNoise, Imputed
from camfaith.models import Classifier
from camfaith.models.speed.setup import Setup

CLOSE = 1e-4
"""How far an imputed pixel may be from the exact solution: the solver stops within some 10⁻⁵ of it."""
STEPS = (-1, 0, 1)
NEIGHBOURS = {(i, j): 1 / 6 if i == 0 or j == 0 else 1 / 12 for i in STEPS for j in STEPS if (i, j) != (0, 0)}


def worked_out(metric, model, images, targets, maps, seeds=None, batch_size=64):
    """The metric's curve and columns, by the engine."""
    classifier = Classifier.of(model)
    case = Case.of(classifier, images, targets, seeds=seeds)
    given = Maps(maps, case)
    asked = {"it": (given, metric.probes(None, case.pixels))}
    answers = Engine(classifier, Setup(batch_size)).answer(case, asked)["it"]
    return metric.line(case, given, answers), metric.judge(case, given, answers)


def solved(image, removed):
    """Every removed pixel is the weighted mean of the neighbours it has: one sparse system per image."""
    height, width = removed.shape
    places = removed.nonzero().tolist()
    number = {tuple(place): n for n, place in enumerate(places)}
    system, known = lil_matrix((len(places), len(places))), np.zeros((len(places), 3))
    for (row, column), n in number.items():
        around = {(row + i, column + j): w for (i, j), w in NEIGHBOURS.items()}
        around = {p: w for p, w in around.items() if 0 <= p[0] < height and 0 <= p[1] < width}
        system[n, n] = sum(around.values())
        for place, weight in around.items():
            if place in number:
                system[n, number[place]] = -weight
            else:
                known[n] += weight * image[:, place[0], place[1]].numpy()
    filled = image.clone()
    found = np.asarray(spsolve(system.tocsc(), known)).reshape(-1, 3)
    for (row, column), n in number.items():
        filled[:, row, column] = torch.from_numpy(found[n])
    return filled


def removed_by(order, count, shape):
    plane = torch.zeros(shape, dtype=torch.bool).flatten()
    plane[order[:count]] = True
    return plane.view(shape)


@pytest.mark.parametrize("score", ["probability", "logit"])
def test_every_column_is_that_of_one_sparse_system_at_a_time(
    score, classifier, images, noise_maps, slow_order, slow_score
):
    metric = ROAD(percentiles=(10, 45, 90), score=score, seed=2)
    pictures, maps = images(3, 9, 8), noise_maps(3, 9, 8, levels=6)
    seeds, targets = torch.tensor([4, 5, 4]), torch.tensor([0, 1, 2])
    line, found = worked_out(metric, classifier, pictures, targets, maps, seeds)
    noise = GaussianNoise(0.01, 2)(pictures, seeds)
    counts = [math.ceil(p * 72 / 100) for p in (10, 45, 90)]
    assert line.x.tolist() == pytest.approx([0, *(count / 72 for count in counts)])
    for i in range(3):
        order, curves = slow_order(maps[i], int(seeds[i])), []
        for leaving in (order, order[::-1]):
            curve = []
            for count in counts:
                gone = removed_by(leaving, count, (9, 8))
                altered = torch.where(gone, solved(pictures[i], gone) + noise[i], pictures[i])
                curve.append(slow_score(classifier, altered, int(targets[i]), score))
            curves.append(curve)
        morf, lerf = (sum(curve) / 3 for curve in curves)
        whole = slow_score(classifier, pictures[i], int(targets[i]), score)
        assert line.y[i].tolist() == pytest.approx([whole, *curves[0]], abs=CLOSE)
        assert float(found["morf"][i]) == pytest.approx(morf, abs=CLOSE)
        assert float(found["lerf"][i]) == pytest.approx(lerf, abs=CLOSE)
        assert float(found["road"][i]) == pytest.approx((lerf - morf) / 2, abs=CLOSE)


def test_exactly_the_asked_share_is_removed_even_where_most_values_tie(tiny, images, noise_maps, watched):
    pictures, maps = images(3, 10), noise_maps(3, 10, 10).clamp(min=0.5)
    assert ((maps == 0.5).double().mean((1, 2)) > 0.6).all()
    seen = watched(tiny)
    percentiles = (0.5, 10, 33, 90, 98.5)
    ROAD(percentiles=percentiles)(tiny, pictures, 0, maps, batch_size=7)
    altered = torch.cat(seen[1:]).view(2, 3, 5, 3, 10, 10)  # MoRF and LeRF, images, percentiles
    assert [len(batch) for batch in seen[1:]] == [7, 7, 7, 7, 2]
    changed = altered != pictures[None, :, None]
    assert torch.equal(changed.all(3), changed.any(3))  # in all colours, or, bit by bit, in none
    for order in changed.all(3):
        assert order.sum((2, 3)).tolist() == [[1, 10, 33, 90, 99]] * 3


def test_the_most_relevant_leave_first_or_the_least_relevant(tiny, images, noise_maps, watched):
    pictures, maps, seen = images(2, 6), noise_maps(2, 6, 6), watched(tiny)
    ROAD(percentiles=(25, 50))(tiny, pictures, 0, maps)
    changed = (torch.cat(seen[1:]).view(2, 2, 2, 3, 6, 6) != pictures[None, :, None]).all(3).flatten(3)
    values = maps.flatten(1)
    for i in range(2):
        for point, count in enumerate((9, 18)):
            assert set(changed[0, i, point].nonzero().flatten().tolist()) == set(values[i].topk(count).indices.tolist())
            least = set((-values[i]).topk(count).indices.tolist())
            assert set(changed[1, i, point].nonzero().flatten().tolist()) == least


@pytest.mark.parametrize(
    ("percentiles", "pixels", "counts"),
    [((10, 90), 50176, (5018, 45159)), ((16.1,), 1000, (161,)), ((7, 7.001), 100, (7, 8)), ((0.1,), 10, (1,))],
)
def test_counts_are_rounded_up_and_decimals_are_meant_as_written(percentiles, pixels, counts):
    assert ROAD(percentiles=percentiles).probes(None, pixels)[0].removed(pixels) == counts


def test_nothing_is_missed_in_an_image_of_one_colour(classifier, noise_maps, slow_score):
    pictures = torch.tensor([0.2, 0.7], dtype=torch.float64).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    found = ROAD(noise=0)(classifier, pictures, 1, noise_maps(2, 8, 8))
    for i in range(2):
        whole = slow_score(classifier, pictures[i], 1, "probability")
        assert float(found["morf"][i]) == pytest.approx(whole, abs=CLOSE)
        assert float(found["lerf"][i]) == pytest.approx(whole, abs=CLOSE)
        assert float(found["road"][i]) == pytest.approx(0, abs=CLOSE)


def test_a_ramp_is_filled_in_as_it_was(pixel_sum):
    """The weights are symmetric: a hole inside of a linear ramp gets the ramp back, and a linear model misses none."""
    ramp = torch.arange(8.0, dtype=torch.float64) / 8
    image = (ramp[:, None] / 2 + ramp / 3).expand(1, 3, 8, 8)
    maps = torch.zeros(1, 8, 8)
    maps[0, 2:5, 3:6] = torch.rand(3, 3) + 1
    weight = torch.zeros(8, 8)
    weight[3, 4] = 1
    line, _ = worked_out(ROAD(percentiles=(10,), noise=0, score="logit"), pixel_sum(weight), image, 1, maps)
    assert line.y[0].tolist() == pytest.approx([float(image[0, :, 3, 4].sum())] * 2, abs=CLOSE)


class Patch(nn.Module):
    """Sees how uneven one corner of an image is."""

    def forward(self, x):
        score = 100 * x[:, :, :4, :4].var((1, 2, 3)) - 4
        return torch.stack([torch.zeros_like(score), score], 1)


def test_a_map_of_what_the_model_uses_is_better_than_one_of_the_rest(images, noise_maps):
    pictures = images(4, 12)
    maps = noise_maps(4, 12, 12) / 10
    maps[:, :4, :4] += 1
    found, opposite = (ROAD()(Patch(), pictures, 1, m) for m in (maps, -maps))
    assert found["road"].min() > 0.3
    assert found["morf"].max() < 0.2
    # Without ties the least relevant pixels of a map are the most relevant ones of its opposite.
    torch.testing.assert_close(opposite["road"], -found["road"], atol=1e-6, rtol=0)


def test_the_noise_is_gaussian_of_the_asked_spread_and_on_removed_pixels_only(tiny, images, noise_maps, watched):
    pictures, maps = images(6, 24), noise_maps(6, 24, 24)
    given, seeds, seen = (tiny, pictures, 0, maps), torch.arange(6), watched(tiny)
    ROAD(noise=0, percentiles=(50,))(*given, seeds=seeds)
    without = torch.cat(seen[1:])
    seen.clear()
    ROAD(noise=0.03, percentiles=(50,))(*given, seeds=seeds)
    noise = torch.cat(seen[1:]) - without
    drawn = noise[noise != 0]
    assert len(drawn) == 2 * 6 * 3 * 288
    assert float(drawn.std()) == pytest.approx(0.03, rel=0.02)
    assert abs(float(drawn.mean())) < 4 * 0.03 / len(drawn) ** 0.5
    assert drawn.abs().max() > 0.09


def test_the_noise_is_the_same_for_all_maps_and_percentiles(tiny, images, noise_maps, watched):
    picture, seen = images(1, 8), watched(tiny)
    added = []
    for seed in (1, 2):
        for noise in (0.0, 0.05):
            seen.clear()
            ROAD(noise=noise, percentiles=(30, 60))(tiny, picture, 0, noise_maps(1, 8, 8, seed=seed))
            added.append(torch.cat(seen[1:]))
    first, second = added[1] - added[0], added[3] - added[2]
    expected = GaussianNoise(0.05)(picture, torch.zeros(1, dtype=torch.long))
    for noise in (*first, *second):
        here = noise.abs() > 1e-9
        torch.testing.assert_close(noise[here], expected[0][here], atol=1e-9, rtol=0)


def test_the_noise_belongs_to_the_image_and_to_the_seeds():
    images = torch.zeros(3, 3, 5, 5)
    first, other, again = GaussianNoise(0.1)(images, torch.tensor([7, 8, 7]))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, GaussianNoise(0.1, seed=1)(images[:1], torch.tensor([7]))[0])
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_do_not_matter(batch_size, classifier, images, noise_maps):
    """The solver stops image by image, so that its error is the same whatever it solves beside, but for rounding."""
    pictures, maps, seeds = images(5, 12), noise_maps(5, 3, 3, levels=3), torch.arange(5)
    together = ROAD()(classifier, pictures, 1, maps, seeds=seeds, batch_size=batch_size)
    for i in range(5):
        alone = ROAD()(classifier, pictures[i : i + 1], 1, maps[i : i + 1], seeds=seeds[i : i + 1])
        for column, value in alone.items():
            torch.testing.assert_close(together[column][i : i + 1], value, atol=1e-6, rtol=0)


def test_a_network_in_half_precision_is_given_what_was_imputed_in_single(tiny, images, noise_maps, watched):
    pictures, maps = images(2, 9).bfloat16(), noise_maps(2, 9, 9)
    given = []
    for network, of in ((tiny, torch.float32), (copy.deepcopy(tiny), torch.bfloat16)):
        seen = watched(network.to(of))
        found = ROAD()(network, pictures, 0, maps)
        assert found["road"].isfinite().all()
        given.append(torch.cat(seen[1:]))
    assert given[1].dtype == torch.bfloat16
    torch.testing.assert_close(given[1].float(), given[0].bfloat16().float(), atol=0.01, rtol=0)


def test_equal_orders_are_imputed_once(classifier, images, noise_maps, watched):
    case, seen = Case.of(classifier, images(3, 9), 0), watched(classifier.network)
    maps, probes = noise_maps(3, 9, 9), ROAD().probes(None, 81)
    Engine(classifier).answer(case, {"one": (Maps(maps, case), probes), "same order": (Maps(maps.exp(), case), probes)})
    assert sum(map(len, seen)) == 3 * 2 * 9


def test_percentiles_are_put_in_order_and_none_is_asked_twice():
    assert ROAD(percentiles=(50, 10, 50)) == ROAD(percentiles=[10, 50])
    assert ROAD(percentiles=(50, 10)).probes(None, 100)[0] == Imputed("rest", (10, 50), GaussianNoise(0.01))


def test_an_image_too_small_for_a_percentile_is_refused():
    with pytest.raises(ValueError, match="percentile 90 leaves none of 4 pixels"):
        ROAD().probes(None, 4)
