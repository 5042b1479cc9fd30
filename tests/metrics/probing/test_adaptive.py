"""Curves that are asked where they bend: as few points as they need, and the area that all points would give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from camfaith import methods
from camfaith.benchmark import datasets
from camfaith.metrics import Blank, Case, Deletion, Engine, Insertion, Maps, baseline
from camfaith.metrics.probing.adaptive import AdaptiveCurve
from camfaith.models import Classifier, load

BLACK = baseline("black")
BOTH = [Deletion, Insertion]
FIRST, FINEST = 15, 256
"""Inner points that every curve is asked at, and the most steps there are."""


def count(seen):
    return sum(map(len, seen))


@pytest.fixture
def staircase(pixel_sum):
    """A grey 16×16 image whose score falls to 2 by `drops` (pixel → height) as pixels leave, 0 first and 255 last."""

    def build(drops):
        worth = torch.zeros(256, dtype=torch.float64)
        for pixel, height in drops.items():
            worth[pixel] = height / 1.5
        image = torch.full((1, 3, 16, 16), 0.5, dtype=torch.float64)
        return pixel_sum(worth.view(16, 16), bias=2.0), image, torch.arange(256.0, 0, -1).view(1, 16, 16)

    return build


@pytest.fixture
def rugged(pixel_sum, images, noise_maps):
    """A curve that bends at every pixel: 256 pixels of random worth, in a random order; two noise images."""
    worth = noise_maps(1, 16, 16, seed=5)[0] / 100
    return pixel_sum(worth), images(2, 16), noise_maps(2, 16, 16)


@pytest.mark.parametrize("metric", BOTH)
def test_a_straight_line_is_asked_at_the_first_points_alone(metric, pixel_sum, noise_maps, watched, worked_out):
    model, image = pixel_sum(torch.ones(16, 16) / 384, bias=2.0), torch.full((1, 3, 16, 16), 0.5, dtype=torch.float64)
    seen, metric = watched(model), metric(tolerance=1e-6, baseline="black", score="logit")
    line, found = worked_out(metric, model, image, 1, noise_maps(1, 16, 16))
    assert count(seen) == 1 + FIRST + 1  # the image, and the black one
    assert float(found["auc"]) == pytest.approx(2.5)
    assert found["points"].tolist() == [FIRST + 2]
    assert len(line.x) > FIRST + 2, "drawn at points of its own"
    torch.testing.assert_close(line.y[0], 2 + (1 - line.x if metric.kept == "rest" else line.x))


@pytest.mark.parametrize("metric", BOTH)
@pytest.mark.parametrize("tolerance", [0.02, 0.005, 0.001])
@pytest.mark.parametrize(
    ("drops", "most"),
    [
        *(({pixel: 1.0}, FIRST + 2 + 12) for pixel in (0, 3, 127, 128, 201, 255)),
        ({20: 0.2, 90: 0.5, 91: -0.3, 180: 0.6}, FINEST // 3),
    ],
)
def test_steps_cost_few_points_and_their_area_is_within_the_tolerance(metric, tolerance, drops, most, staircase):
    """One step costs three neighbours in each of four halvings."""
    model, image, maps = staircase(drops)
    found = metric(tolerance=tolerance, baseline="black", score="logit")(model, image, 1, maps)
    exact = metric(steps=FINEST, baseline="black", score="logit")(model, image, 1, maps)
    assert abs(float(found["auc"] - exact["auc"])) <= tolerance
    assert found["points"] <= most


def test_the_less_it_may_miss_the_more_is_asked_and_no_point_twice(rugged, watched):
    (model, pictures, maps), asked = rugged, []
    for tolerance in (0.02, 0.005, 0.002):
        seen = watched(model)
        Deletion(tolerance=tolerance, score="logit")(model, pictures[:1], 1, maps[:1])
        every = torch.cat(seen).flatten(1)
        assert len(every.unique(dim=0)) == len(every)
        asked.append(len(every))
    assert FIRST + 2 < asked[0] < asked[1] < asked[2] < FINEST


@pytest.mark.parametrize("metric", BOTH)
def test_no_tolerance_to_speak_of_is_the_whole_curve(metric, rugged, watched):
    model, pictures, maps = rugged
    exact = metric(steps=FINEST, baseline="black", score="logit")(model, pictures, 1, maps)
    seen = watched(model)
    found = metric(tolerance=1e-12, baseline="black", score="logit")(model, pictures, 1, maps)
    torch.testing.assert_close(found["auc"], exact["auc"], atol=1e-12, rtol=0)
    assert count(seen) == 2 * (FINEST - 1 + 2)


def test_what_is_asked_and_what_is_spared_make_up_the_whole_curve(rugged, watched):
    model, pictures, maps = rugged
    classifier = Classifier(model)
    case, engine, seen = Case.of(classifier, pictures, 1), Engine(classifier), watched(model)
    probe = AdaptiveCurve("rest", 0.01, BLACK, "logit")
    answer = engine.answer(case, {"it": (Maps(maps, case), [probe, Blank(BLACK)])})["it"][probe]
    made = count(seen) - 2  # a black image each
    assert made == engine.meter.forwards - 2
    assert engine.meter.spared > 0
    assert made + engine.meter.spared == 2 * probe.count(case.pixels) == 2 * (FINEST - 1)
    assert sum(len(at.unique()) for at in answer.at) == made


@pytest.mark.parametrize("first", ["curve", "blank"])
def test_the_places_told_are_those_of_the_scores_whether_the_blank_image_is_asked_before_or_after(first, staircase):
    model, image, maps = staircase({100: 1.0})
    classifier = Classifier(model)
    case, probe = Case.of(classifier, image, 1), AdaptiveCurve("rest", 0.005, BLACK, "logit")
    probes = [probe, Blank(BLACK)] if first == "curve" else [Blank(BLACK), probe]
    engine = Engine(classifier)
    answer = engine.answer(case, {"it": (Maps(maps, case), probes)})["it"][probe]
    assert engine.meter.forwards == 1 + FIRST + 10
    torch.testing.assert_close(answer.logit, 2 + (answer.at * 256 <= 100).double())
    assert {100, 101} <= set((answer.at[0] * 256).tolist()), "the step itself was found"


class Fragile(nn.Module):
    """Gives NaN where more than half of an image is black."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        dark = (images == 0).flatten(1).double().mean(1) > 0.5
        return torch.where(dark[:, None], torch.nan, self.network(images))


def test_a_network_that_answers_nan_is_asked_no_more(rugged, watched):
    model, pictures, maps = rugged
    fragile = Fragile(model)
    seen = watched(fragile)
    assert Deletion(tolerance=1e-12)(fragile, pictures, 1, maps)["auc"].isnan().all()
    assert count(seen) == 2 * (1 + FIRST + 1)
    assert Deletion(tolerance=0.01, baseline="mean")(fragile, pictures, 1, maps)["auc"].isfinite().all()


def test_maps_of_equal_order_share_their_curve(rugged):
    model, pictures, maps = rugged
    classifier = Classifier(model)
    case, probes = Case.of(classifier, pictures, 1), [AdaptiveCurve("rest", 0.05, BLACK, "logit"), Blank(BLACK)]
    alone, both = Engine(classifier), Engine(classifier)
    alone.answer(case, {"one": (Maps(maps, case), probes)})
    found = both.answer(case, {"one": (Maps(maps, case), probes), "same": (Maps(maps.exp(), case), probes)})
    assert both.meter.forwards == alone.meter.forwards
    assert both.meter.shared == 2 * probes[0].count(case.pixels)
    assert torch.equal(found["one"][probes[0]].logit, found["same"][probes[0]].logit)
    assert torch.equal(found["one"][probes[0]].at, found["same"][probes[0]].at)


@pytest.mark.parametrize("metric", BOTH)
@pytest.mark.parametrize(("size", "steps"), [((1, 2), 2), ((2, 2), 4), ((1, 3), 2), ((3, 3), 8), ((3, 5), 8)])
def test_an_image_of_few_pixels_is_asked_at_all_steps_there_are(metric, size, steps, pixel_sum, images, noise_maps):
    model, pictures, maps = pixel_sum(noise_maps(1, *size)[0]), images(4, *size), noise_maps(4, *size, seed=3)
    found = metric(tolerance=0.5, baseline="black")(model, pictures, 1, maps)
    exact = metric(steps=steps, baseline="black")(model, pictures, 1, maps)
    torch.testing.assert_close(found["auc"], exact["auc"], atol=1e-12, rtol=0)
    assert found["points"].tolist() == [steps + 1] * 4


@pytest.mark.parametrize(("network", "method"), [("fundus-vgg", "saliency"), ("fundus-resnet", "gradcam")])
def test_on_real_networks_areas_are_within_the_tolerance_and_less_than_a_third_of_the_points_is_asked(network, method):
    classifier = load(network)
    picture = classifier.prepare(datasets.find("fundus")()[3].image)[None]
    maps = methods.find(method)(classifier).raw(picture)
    for metric in BOTH:
        quick = metric(tolerance=0.005)(classifier, picture, None, maps, batch_size=16)
        exact = metric(steps=224)(classifier, picture, None, maps, batch_size=16)
        assert abs(float(quick["auc"] - exact["auc"])) <= 0.005
        assert quick["points"] - 2 < 224 / 3
