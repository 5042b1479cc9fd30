"""Average drop, increase and gain in closed form, against one forward per image, and where they say nothing."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from camfaith.methods import GradCAM, HiResCAM
from camfaith.metrics import AverageDrop, Engine
from camfaith.metrics.masking import Masked
from camfaith.metrics.probing.case import Case, Maps
from camfaith.models import Classifier

NAMES = ["drop", "increase", "gain", "shown"]


def judged(model, images, targets, maps, **reading):
    classifier = Classifier.of(model)
    case = Case.of(classifier, images, targets)
    given, metric = Maps(maps, case, **reading), AverageDrop()
    answers = Engine(classifier).answer(case, {"it": (given, metric.probes(None, case.pixels))})["it"]
    return metric.judge(case, given, answers)


@pytest.fixture
def slow_columns(slow_score):
    """The columns of one image and one heat map in [0, 1], pixel by pixel."""

    def columns(model, image, target, shown):
        masked = image.clone()
        for row in range(image.shape[1]):
            for column in range(image.shape[2]):
                masked[:, row, column] = image[:, row, column] * float(shown[row, column])
        y, o = (slow_score(model, x, target, "probability") for x in (image, masked))
        return [max(y - o, 0) / y, float(o > y), max(o - y, 0) / (1 - y), float(shown.mean())]

    return columns


def test_the_drop_of_a_logistic_model_is_known_in_closed_form(pixel_sum):
    """Grey pixels worth 1, 2, 3 and −2; the map shows them at 0, 1/4, 1/2 and 1."""
    worth = torch.tensor([[1.0, 2.0], [3.0, -2.0]])
    image = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64)
    maps = torch.tensor([[[3.0, 4.0], [5.0, 7.0]]])
    found = AverageDrop()(pixel_sum(worth / 1.5), image, 1, maps)
    expected = torch.sigmoid(torch.tensor([4.0, 0 + 2 / 4 + 3 / 2 - 2], dtype=torch.float64))
    assert expected[1] == 0.5
    # The call reads maps as they are: 3, 4, 5, 7 are stretched to 0, 1/4, 1/2, 1
    assert float(found["drop"]) == pytest.approx(float(1 - 0.5 / expected[0]))
    assert [float(found[name]) for name in ("increase", "gain")] == [0, 0]
    assert float(found["shown"]) == pytest.approx(1.75 / 4)


def test_hiding_what_speaks_against_the_class_is_a_gain(pixel_sum):
    worth = torch.tensor([[1.0, -3.0]])
    image = torch.full((1, 3, 1, 2), 0.5, dtype=torch.float64)
    found = AverageDrop()(pixel_sum(worth / 1.5), image, 1, torch.tensor([[[2.0, 0.0]]]))
    y, o = torch.sigmoid(torch.tensor([-2.0, 1.0], dtype=torch.float64)).tolist()
    assert [float(found[name]) for name in NAMES] == pytest.approx([0, 1, (o - y) / (1 - y), 0.5])


@pytest.mark.parametrize("grid", [3, 9])
@pytest.mark.parametrize("rectified", [True, False])
def test_every_column_is_that_of_one_masked_image(grid, rectified, classifier, images, noise_maps, slow_columns):
    pictures, maps, targets = images(12, 9), noise_maps(12, grid, grid), torch.arange(12) % 3
    grown = F.interpolate(maps.clamp(min=0)[:, None], size=(9, 9), mode="bilinear", align_corners=False)[:, 0]
    low, high = grown.amin((1, 2), keepdim=True), grown.amax((1, 2), keepdim=True)
    shown = (grown - low) / (high - low)
    found = judged(classifier, pictures, targets, maps, rectified=rectified)
    for i in range(12):
        expected = slow_columns(classifier, pictures[i], int(targets[i]), shown[i])
        assert [float(found[name][i]) for name in NAMES] == pytest.approx(expected, abs=1e-8)
    assert set(found["increase"].tolist()) == {0, 1}


@pytest.mark.parametrize("method", [GradCAM, HiResCAM])
def test_the_heat_map_is_the_one_that_the_method_shows(method, classifier, images):
    cam, pictures = method(classifier, target_layer="relu2"), images(4, 12)
    found = judged(classifier, pictures, 1, cam.raw(pictures, 1), rectified=method.rectified)
    shown = AverageDrop()(classifier, pictures, 1, cam(pictures, 1))
    for name in NAMES:
        torch.testing.assert_close(found[name], shown[name], atol=1e-6, rtol=0)
    assert found["drop"].max() > 0


def test_a_map_that_shows_everything_loses_nothing(classifier, images):
    found = AverageDrop()(classifier, images(3, 6), 1, torch.full((3, 2, 2), 0.3))
    assert {name: found[name].tolist() for name in NAMES} == {
        "drop": [0] * 3,
        "increase": [0] * 3,
        "gain": [0] * 3,
        "shown": [1] * 3,
    }


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_map_that_shows_nothing_leaves_a_black_image(value, classifier, images, slow_score):
    pictures = images(3, 6)
    found = AverageDrop()(classifier, pictures, 1, torch.full((3, 2, 2), value))
    for i in range(3):
        y, o = (slow_score(classifier, x, 1, "probability") for x in (pictures[i], torch.zeros_like(pictures[i])))
        assert float(found["drop"][i]) == pytest.approx(max(y - o, 0) / y)
        assert float(found["gain"][i]) == pytest.approx(max(o - y, 0) / (1 - y))
    assert found["shown"].tolist() == [0] * 3


def test_without_a_probability_to_lose_or_to_win_nothing_is_defined(pixel_sum):
    image, maps = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64), torch.rand(1, 2, 2)
    sure, absent = (AverageDrop()(pixel_sum(torch.ones(2, 2), bias=b), image, 1, maps) for b in (50.0, -50.0))
    assert sure["gain"].isnan().all()
    assert float(sure["drop"]) == pytest.approx(0, abs=1e-12)
    assert absent["drop"].isnan().all()
    assert float(absent["gain"]) == pytest.approx(0, abs=1e-12)


class Trembling(nn.Module):
    """Logits that the size of the batch moves by their rounding, as a convolution's algorithm may."""

    def forward(self, x):
        score = x.mean((1, 2, 3)) * 8 * (1 + len(x) * torch.finfo(x.dtype).eps)
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_rounding_is_no_increase(batch_size, images):
    pictures = images(5, 8).float()
    found = AverageDrop()(Trembling(), pictures, 1, torch.ones(5, 8, 8), batch_size=batch_size)
    assert found["increase"].tolist() == [0] * 5


def test_a_small_increase_of_a_confident_model_is_one(pixel_sum):
    image = torch.full((1, 3, 1, 2), 0.5)
    model = pixel_sum(torch.tensor([[0.0, -0.01]]), bias=12.0).float()  # a probability of 1 − 6·10⁻⁶
    assert AverageDrop()(model, image, 1, torch.tensor([[[1.0, 0.0]]]))["increase"].tolist() == [1]


def test_equal_maps_are_masked_once(classifier, images, noise_maps, watched):
    case = Case.of(classifier, images(4, 24), 0)
    seen, engine = watched(classifier.network), Engine(classifier)
    maps, (probe,) = noise_maps(4, 3, 3), AverageDrop().probes(None, 576)
    changed = maps.clone()
    changed[1] = changed[1].flip(0)
    named = {"one": maps, "twice as large": 2 * maps, "without its negative part": maps.clamp(min=0), "other": changed}
    answers = engine.answer(case, {name: (Maps(m, case), [probe]) for name, m in named.items()})
    assert sum(map(len, seen)) == 4 + 1
    assert engine.meter.shared == 4 + 4 + 3
    differs = answers["one"][probe].logit != answers["other"][probe].logit
    assert differs.flatten().tolist() == [False, True, False, False]


def test_a_map_and_its_own_upsampling_are_not_taken_for_one(classifier, images, noise_maps):
    case = Case.of(classifier, images(1, 24), 0)
    small = Maps(noise_maps(1, 3, 3), case)  # signed: rectified before it is upsampled, and not after
    large = Maps(small.signed, case)
    answers = Engine(classifier).answer(case, {"small": (small, [Masked()]), "large": (large, [Masked()])})
    alone = Engine(classifier).answer(case, {"large": (large, [Masked()])})
    assert torch.equal(answers["large"][Masked()].logit, alone["large"][Masked()].logit)
    assert not torch.equal(answers["large"][Masked()].logit, answers["small"][Masked()].logit)


def test_what_the_network_is_given_is_the_product(tiny, images, noise_maps, watched):
    pictures, maps, seen = images(3, 6), noise_maps(3, 6, 6).clamp(min=0), watched(tiny)
    AverageDrop()(tiny, pictures, 0, maps)
    expected = pictures * (maps / maps.amax((1, 2), keepdim=True))[:, None]
    torch.testing.assert_close(torch.cat(seen[1:]), expected)


def test_a_batch_is_as_good_as_its_images_one_by_one(classifier, images, noise_maps):
    pictures, maps = images(5, 12), noise_maps(5, 3, 3)
    together = AverageDrop()(classifier, pictures, 1, maps, batch_size=3)
    for i in range(5):
        alone = AverageDrop()(classifier, pictures[i : i + 1], 1, maps[i : i + 1])
        for column, value in alone.items():
            torch.testing.assert_close(together[column][i : i + 1], value, atol=1e-12, rtol=0)


def test_the_probe_cannot_do_without_a_map(classifier, images):
    case = Case.of(classifier, images(1, 6), 0)
    maps = Maps(torch.rand(1, 6, 6), case)
    assert Masked().count(36) == 1
    assert Masked().reads == "displayed"
    answers = Engine(classifier).answer(case, {"it": (maps, [Masked()])})["it"]
    assert answers[Masked()].logit.shape == (1, 1)
