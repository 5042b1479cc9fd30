"""AOPC, ABPC and pixel-flipping in closed form, against one forward per step, and for what they share."""

from itertools import pairwise

import pytest
import torch

from camfaith.metrics import ABPC, AOPC, Deletion, Engine, Insertion, PixelFlipping
from camfaith.metrics.probing.case import Case, Maps

ALL = [AOPC, ABPC, PixelFlipping]


@pytest.fixture
def climbing(pixel_sum):
    """A model of 12 pixels in which pixel p of a grey image is worth p + 1, that image, and the map that says so."""
    worth = torch.arange(1.0, 13, dtype=torch.float64).view(3, 4)
    return pixel_sum(worth / 1.5), torch.full((1, 3, 3, 4), 0.5, dtype=torch.float64), worth[None]


@pytest.fixture
def slow_points(slow_order, slow_score):
    """(share removed, score) with more and more pixels at the baseline, most or least relevant first."""

    def points(metric, model, image, target, saliency, blank, seed, *, least_first=False):
        order = slow_order(saliency, seed)
        counts = [-(-i * len(order) // metric.steps) for i in range(metric.steps + 1)]
        if least_first:
            order, counts = order[::-1], [len(order) - count for count in counts[::-1]]
        found = []
        for count in counts:
            altered = image.clone()
            for pixel in order[:count]:
                row, column = divmod(pixel, image.shape[-1])
                altered[:, row, column] = blank[:, row, column]
            found.append((count / len(order), slow_score(model, altered, target, metric.score)))
        return found

    return points


def area(points):
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(points))


def mean(values):
    return sum(values) / len(values)


def test_a_linear_model_is_known_in_closed_form(climbing):
    model, image, worth = climbing
    settings = {"steps": 12, "score": "logit"}
    # f(xᵏ) = (12 − k)(13 − k)/2, and Σ_k f(xᵏ) = 14·13·12/6 = 364; LeRF leaves 78 − k(k + 1)/2
    assert AOPC(**settings)(model, image, 1, worth)["aopc"].tolist() == pytest.approx([78 - 364 / 13])
    assert PixelFlipping(**settings)(model, image, 1, worth)["mean"].tolist() == pytest.approx([(364 - 78) / 12])
    between = ABPC(**settings)(model, image, 1, worth)
    morf = 13 * 25 / 12  # (N + 1)(2N + 1)/12
    assert between["morf"].tolist() == pytest.approx([morf])
    assert between["lerf"].tolist() == pytest.approx([78 - morf])
    assert between["abpc"].tolist() == pytest.approx([78 - 2 * morf])


def test_few_steps_are_counted_with_both_ends(climbing):
    model, image, worth = climbing
    f = [78, 78 - (12 + 11 + 10 + 9 + 8 + 7), 0]
    assert AOPC(steps=2, score="logit")(model, image, 1, worth)["aopc"].tolist() == pytest.approx([78 - sum(f) / 3])
    flipped = PixelFlipping(steps=2, score="logit")(model, image, 1, worth)["mean"]
    assert flipped.tolist() == pytest.approx([(f[1] + f[2]) / 2])


@pytest.mark.parametrize("steps", [5, 42])
@pytest.mark.parametrize("score", ["probability", "logit"])
@pytest.mark.parametrize("baseline", ["black", "mean", "noise"])
def test_every_number_is_that_of_one_forward_per_step(
    steps, score, baseline, classifier, images, noise_maps, slow_points
):
    pictures, maps = images(4, 6, 7), noise_maps(4, 6, 7, levels=6)
    seeds, targets = torch.arange(4) % 3, torch.arange(4) % 3
    metrics = {kind: kind(steps=steps, score=score, baseline=baseline) for kind in ALL}
    found = {
        kind: metric(classifier, pictures, targets, maps, seeds=seeds, batch_size=3) for kind, metric in metrics.items()
    }
    blanks = metrics[AOPC].baseline(pictures, seeds)
    for i in range(4):
        given = (metrics[AOPC], classifier, pictures[i], int(targets[i]), maps[i], blanks[i], int(seeds[i]))
        morf, lerf = slow_points(*given), slow_points(*given, least_first=True)
        expected = mean([morf[0][1] - y for _, y in morf])
        assert float(found[AOPC]["aopc"][i]) == pytest.approx(expected, abs=1e-8)
        assert float(found[PixelFlipping]["mean"][i]) == pytest.approx(mean([y for _, y in morf[1:]]), abs=1e-8)
        assert float(found[ABPC]["abpc"][i]) == pytest.approx(area(lerf) - area(morf), abs=1e-8)


def test_the_area_between_is_insertion_minus_deletion_with_one_baseline(classifier, images, noise_maps):
    given = (classifier, images(5, 8), 1, noise_maps(5, 8, 8))
    settings = {"steps": 7, "baseline": {"name": "blur", "kernel": 3, "sigma": 1.0}}
    between = ABPC(**settings)(*given)["abpc"]
    inserted, deleted = (kind(**settings)(*given)["auc"] for kind in (Insertion, Deletion))
    torch.testing.assert_close(between, inserted - deleted, atol=1e-12, rtol=0)


def test_pixel_flipping_orders_the_maps_of_an_image_as_aopc_does(classifier, images, noise_maps, slow_score):
    image, maps = images(1, 6), noise_maps(20, 6, 6)
    given = (classifier, image.expand(20, -1, -1, -1), 2, maps)
    aopc, flipped = AOPC(steps=9)(*given)["aopc"], PixelFlipping(steps=9)(*given)["mean"]
    whole = slow_score(classifier, image[0], 2, "probability")
    torch.testing.assert_close(aopc, 9 / 10 * (whole - flipped))


def test_deletion_insertion_and_all_of_these_cost_two_orders(classifier, images, noise_maps, watched):
    steps, case = 6, Case.of(classifier, images(3, 9), 1)
    kinds = (Deletion, Insertion, AOPC, ABPC, PixelFlipping)
    metrics = [kind(steps=steps, baseline="mean") for kind in kinds]
    seen = watched(classifier.network)
    maps = Maps(noise_maps(3, 9, 9), case)
    probes = tuple(probe for metric in metrics for probe in metric.probes(None, case.pixels))
    answers = Engine(classifier).answer(case, {"it": (maps, probes)})["it"]
    assert sum(map(len, seen)) == 3 * (2 * (steps - 1) + 1)
    for metric in metrics:
        assert metric.judge(case, maps, answers)[metric.main].isfinite().all()
    assert sum(map(len, seen)) == 3 * (2 * (steps - 1) + 1)


def test_other_steps_or_baselines_are_other_curves(images, noise_maps):
    asked = [AOPC().probes(None, 81), AOPC(steps=31).probes(None, 81), AOPC(baseline="mean").probes(None, 81)]
    assert len({probes[0] for probes in asked}) == 3
    assert PixelFlipping().probes(None, 81) == asked[0] == Deletion().probes(None, 81)


def test_the_curve_is_that_of_deletion(classifier, images, noise_maps):
    case = Case.of(classifier, images(2, 6), 0)
    maps = Maps(noise_maps(2, 6, 6), case)
    answers = Engine(classifier).answer(case, {"it": (maps, AOPC(steps=4).probes(None, 36))})["it"]
    deleted = Deletion(steps=4).line(case, maps, answers)
    for metric in (AOPC(steps=4), PixelFlipping(steps=4)):
        line = metric.line(case, maps, answers)
        assert torch.equal(line.x, deleted.x)
        assert torch.equal(line.y, deleted.y)


@pytest.mark.parametrize("metric", ALL)
def test_the_right_map_is_the_best_and_its_opposite_the_worst(metric, climbing, noise_maps):
    model, image, worth = climbing
    maps = torch.cat([worth, -worth, noise_maps(40, 3, 4)])
    metric = metric(steps=12)
    sign = 1 if metric.better[metric.main] == "higher" else -1
    found = sign * metric(model, image.expand(42, -1, -1, -1), 1, maps)[metric.main]
    assert found.argmax() == 0
    assert found.argmin() == 1


def test_the_opposite_map_has_the_opposite_area_between(classifier, images, noise_maps):
    pictures, maps = images(4, 6), noise_maps(4, 6, 6)
    metric = ABPC(steps=9)
    found, opposite = (metric(classifier, pictures, 0, m)["abpc"] for m in (maps, -maps))
    torch.testing.assert_close(found, -opposite, atol=1e-12, rtol=0)


def test_a_random_order_has_nothing_between_its_curves(climbing):
    model, image, _ = climbing
    drawn = 400
    found = ABPC(steps=12, score="logit")(
        model, image.expand(drawn, -1, -1, -1), 1, torch.ones(drawn, 3, 4), seeds=torch.arange(drawn), batch_size=500
    )["abpc"]
    assert abs(float(found.mean())) < 3 * float(found.std()) / drawn**0.5
    assert found.std() > 1


@pytest.mark.parametrize("metric", ALL)
def test_a_batch_is_as_good_as_its_images_one_by_one(metric, classifier, images, noise_maps):
    pictures, maps, seeds = images(5, 12), noise_maps(5, 3, 3, levels=3), torch.arange(5)
    metric = metric(steps=9)
    together = metric(classifier, pictures, 1, maps, seeds=seeds)
    for i in range(5):
        alone = metric(classifier, pictures[i : i + 1], 1, maps[i : i + 1], seeds=seeds[i : i + 1])
        for column, value in alone.items():
            torch.testing.assert_close(together[column][i : i + 1], value, atol=1e-12, rtol=0)


@pytest.mark.parametrize("metric", ALL)
def test_more_steps_than_pixels_are_refused(metric, classifier, images):
    with pytest.raises(ValueError, match="steps must lie between 1 and the number of pixels, 36; got 37"):
        metric(steps=37)(classifier, images(1, 6), 0, torch.rand(1, 6, 6))
