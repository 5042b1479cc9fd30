"""Deletion and insertion against closed forms, and against one forward per step."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from camfaith.metrics import Deletion, Engine, Insertion
from camfaith.metrics.probing.case import Case, Maps
from camfaith.models import Classifier
from camfaith.models.speed.setup import Setup

BOTH = [Deletion, Insertion]
BASELINES = ["black", "mean", {"name": "blur", "kernel": 3, "sigma": 1.0}, "noise", torch.full((3, 6, 7), 0.3)]


def curve_of(metric, model, images, targets, maps, seeds=None, batch_size=64):
    """The metric's curve and columns, worked out by the engine."""
    classifier = Classifier.of(model)
    case = Case.of(classifier, images, targets, seeds=seeds)
    given = Maps(maps, case)
    probes = metric.probes(None, case.pixels)
    answers = Engine(classifier, Setup(batch_size)).answer(case, {"it": (given, probes)})["it"]
    return metric.line(case, given, answers), metric.judge(case, given, answers)


@pytest.fixture
def slow_curve(slow_order, slow_score):
    """Points of a curve, one altered image and one forward at a time: `removed` pixels leave, or enter."""

    def curve(metric, model, image, target, saliency, blank, seed=0):
        order, points = slow_order(saliency, seed), []
        for i in range(metric.steps + 1):
            changed = order[: -(-i * len(order) // metric.steps)]
            altered, other = (image, blank) if isinstance(metric, Deletion) else (blank, image)
            altered = altered.clone()
            for pixel in changed:
                row, column = divmod(pixel, image.shape[-1])
                altered[:, row, column] = other[:, row, column]
            points.append((len(changed) / len(order), slow_score(model, altered, target, metric.score)))
        area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(points))
        return points, area

    return curve


@pytest.fixture
def climbing(pixel_sum):
    """A model of 12 pixels in which pixel p of a grey image is worth p + 1, that image, and the map that says so."""
    worth = torch.arange(1.0, 13, dtype=torch.float64).view(3, 4)
    return pixel_sum(worth / 1.5), torch.full((1, 3, 3, 4), 0.5, dtype=torch.float64), worth[None]


def test_deletion_of_a_linear_model_is_known_in_closed_form(climbing):
    model, image, worth = climbing
    line, columns = curve_of(Deletion(steps=12, score="logit"), model, image, 1, worth)
    assert line.y[0].tolist() == pytest.approx([78 - sum(range(12, 12 - i, -1)) for i in range(13)])
    assert line.x.tolist() == pytest.approx([i / 12 for i in range(13)])
    assert columns["auc"].tolist() == pytest.approx([(12 + 1) * (2 * 12 + 1) / 12])  # (N + 1)(2N + 1)/12


def test_insertion_of_a_linear_model_is_what_deletion_leaves(climbing):
    model, image, worth = climbing
    _, columns = curve_of(Insertion(steps=12, score="logit", baseline="black"), model, image, 1, worth)
    assert columns["auc"].tolist() == pytest.approx([78 - (12 + 1) * (2 * 12 + 1) / 12])


def test_the_right_map_is_the_best_and_its_opposite_the_worst(climbing, noise_maps):
    model, image, worth = climbing
    maps = torch.cat([worth, -worth, noise_maps(40, 3, 4)])
    for metric, sign in ((Deletion(steps=12), 1), (Insertion(steps=12, baseline="black"), -1)):
        auc = sign * metric(model, image.expand(42, -1, -1, -1), 1, maps)["auc"]
        assert auc.argmin() == 0
        assert auc.argmax() == 1


def test_a_constant_map_is_a_random_order(climbing):
    model, image, _ = climbing
    drawn = 400
    flat = torch.ones(drawn, 3, 4)
    found = Deletion(steps=12, score="logit")(
        model, image.expand(drawn, -1, -1, -1), 1, flat, seeds=torch.arange(drawn), batch_size=500
    )
    expected, spread = 78 / 2, float(found["auc"].std()) / drawn**0.5  # the mean of f(x) and f(b)
    assert float(found["auc"].mean()) == pytest.approx(expected, abs=3 * spread)
    assert found["auc"].unique().numel() > drawn / 2
    assert found["ties"].tolist() == [1] * drawn


@pytest.mark.parametrize("metric", BOTH)
@pytest.mark.parametrize("baseline", BASELINES, ids=["black", "mean", "blur", "noise", "given"])
@pytest.mark.parametrize("steps", [5, 42])
def test_a_curve_is_one_forward_per_step(metric, baseline, steps, classifier, images, noise_maps, slow_curve):
    metric = metric(steps=steps, baseline=baseline)
    pictures, maps = images(7, 6, 7), noise_maps(7, 6, 7, levels=6)
    seeds, targets = torch.arange(7) % 5, torch.arange(7) % 3
    blanks = metric.baseline(pictures, seeds)
    line, columns = curve_of(metric, classifier, pictures, targets, maps, seeds, batch_size=3)
    assert columns["ties"].min() > 0.5
    for i in range(7):
        points, area = slow_curve(metric, classifier, pictures[i], int(targets[i]), maps[i], blanks[i], int(seeds[i]))
        assert line.x.tolist() == pytest.approx([x for x, _ in points], abs=1e-12)
        assert line.y[i].tolist() == pytest.approx([y for _, y in points], abs=1e-8)
        assert float(columns["auc"][i]) == pytest.approx(area, abs=1e-8)


@pytest.mark.parametrize("metric", BOTH)
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_the_score_is_the_one_asked_for(metric, score, classifier, images, noise_maps, slow_curve):
    metric = metric(steps=4, score=score, baseline="black")
    picture, maps = images(1, 5), noise_maps(1, 5, 5)
    line, columns = curve_of(metric, classifier, picture, 2, maps)
    points, area = slow_curve(metric, classifier, picture[0], 2, maps[0], torch.zeros_like(picture[0]))
    assert line.y[0].tolist() == pytest.approx([y for _, y in points], abs=1e-8)
    assert float(columns["auc"]) == pytest.approx(area, abs=1e-8)
    assert line.y_label == score


def test_insertion_is_the_least_relevant_first_deletion_read_backwards(classifier, images, noise_maps):
    pictures, maps = images(3, 12), noise_maps(3, 12, 12)
    inserted, _ = curve_of(Insertion(steps=12, baseline="blur"), classifier, pictures, 1, maps)
    deleted, _ = curve_of(Deletion(steps=12, baseline="blur"), classifier, pictures, 1, -maps)
    torch.testing.assert_close(inserted.y, deleted.y.flip(1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("metric", BOTH)
def test_a_curve_runs_between_the_image_and_the_baseline(metric, classifier, images, noise_maps, slow_score):
    pictures = images(4, 6)
    line, _ = curve_of(metric(steps=7, baseline="mean"), classifier, pictures, 0, noise_maps(4, 6, 6))
    whole, blank = (0, -1) if metric is Deletion else (-1, 0)
    colour = pictures.mean((2, 3), keepdim=True).expand_as(pictures)
    for i in range(4):
        assert float(line.y[i, whole]) == pytest.approx(slow_score(classifier, pictures[i], 0, "probability"))
        assert float(line.y[i, blank]) == pytest.approx(slow_score(classifier, colour[i], 0, "probability"))


@pytest.mark.parametrize("metric", BOTH)
def test_one_step_is_the_mean_of_both_ends(metric, classifier, images, noise_maps):
    line, columns = curve_of(metric(steps=1, baseline="black"), classifier, images(2, 6), 0, noise_maps(2, 6, 6))
    assert line.y.shape == (2, 2)
    torch.testing.assert_close(columns["auc"], line.y.mean(1))


def test_the_explained_target_stays_when_the_prediction_changes(pixel_sum):
    model = pixel_sum(torch.ones(2, 2), bias=-4.0)  # without pixels class 0 is predicted
    image = torch.full((1, 3, 2, 2), 0.8, dtype=torch.float64)
    line, _ = curve_of(Deletion(steps=4), model, image, None, torch.rand(1, 2, 2))
    expected = torch.sigmoid(torch.tensor([9.6 - 2.4 * i - 4 for i in range(5)], dtype=torch.float64))
    assert expected[0] > 0.99
    assert expected[-1] < 0.02
    torch.testing.assert_close(line.y[0], expected)


@pytest.mark.parametrize("metric", BOTH)
def test_a_batch_is_as_good_as_its_images_one_by_one(metric, classifier, images, noise_maps):
    pictures, maps, seeds = images(5, 12), noise_maps(5, 3, 3, levels=3), torch.arange(5)
    metric = metric(steps=9)
    together = metric(classifier, pictures, 1, maps, seeds=seeds)
    for i in range(5):
        alone = metric(classifier, pictures[i : i + 1], 1, maps[i : i + 1], seeds=seeds[i : i + 1])
        for column, value in alone.items():
            torch.testing.assert_close(together[column][i : i + 1], value, atol=1e-12, rtol=0)


def test_the_relative_area_is_the_area_over_the_score_of_the_image(pixel_sum):
    image, maps = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64), torch.rand(1, 2, 2)
    metric = Deletion(steps=4, score="logit")
    assert float(metric(pixel_sum(torch.ones(2, 2)), image, 1, maps)["auc_relative"]) == pytest.approx(0.5)
    assert float(metric(pixel_sum(-torch.ones(2, 2)), image, 1, maps)["auc_relative"]) == pytest.approx(0.5)
    assert metric(pixel_sum(torch.ones(2, 2), bias=-6.0), image, 1, maps)["auc_relative"].isnan().all()
    entering = Insertion(steps=4, score="logit", baseline=torch.full((3, 2, 2), 0.25))
    assert float(entering(pixel_sum(torch.ones(2, 2)), image, 1, maps)["auc_relative"]) == pytest.approx(0.75)


def test_a_map_on_its_own_grid_is_upsampled_bilinearly(classifier, images, noise_maps):
    maps = noise_maps(2, 3, 4)
    grown = F.interpolate(maps[:, None], size=(12, 10), mode="bilinear", align_corners=False)[:, 0]
    metric = Deletion(steps=30)
    native, full = (metric(classifier, images(2, 12, 10), 0, m)["auc"] for m in (maps, grown))
    torch.testing.assert_close(native, full, atol=1e-12, rtol=0)


def test_half_precision_of_the_network_ties_no_pixels_of_the_map(tiny, images, noise_maps):
    maps = 1 + noise_maps(1, 12, 12) / 1000  # bfloat16 has three distinct values there
    assert Deletion()(tiny.bfloat16(), images(1, 12), 0, maps)["ties"].tolist() == [0]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_map_that_is_not_finite_is_refused(bad, classifier, images):
    maps = torch.zeros(3, 6, 6)
    maps[1, 2, 2] = bad
    with pytest.raises(ValueError, match=r"images \[1\] hold NaN or infinite"):
        Deletion()(classifier, images(3, 6), 0, maps)


@pytest.mark.parametrize("shape", [(2, 6, 6), (4, 6, 6), (6, 6), (3, 1, 6, 6)])
def test_maps_of_another_shape_are_refused(shape, classifier, images):
    with pytest.raises(ValueError, match="expected maps of shape 3×h×w, got " + "×".join(map(str, shape))):
        Deletion()(classifier, images(3, 6), 0, torch.rand(shape))


@pytest.mark.parametrize("metric", BOTH)
def test_more_steps_than_pixels_are_refused(metric, classifier, images):
    with pytest.raises(ValueError, match="steps must lie between 1 and the number of pixels, 36; got 37"):
        metric(steps=37, baseline="black")(classifier, images(1, 6), 0, torch.rand(1, 6, 6))
