"""Average drop, increase and gain in closed form, against one forward per image, and where they say nothing."""

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.nn import functional as F

from camfaith.methods import GradCAM, HiResCAM
from camfaith.metrics import AverageDrop, AverageDropInDeletion, Case, Engine, EqualAreaDrop, Maps
from camfaith.metrics.masking import Masked

NAMES = ["drop", "increase", "gain", "shown"]


def test_of_a_logistic_model_the_columns_are_known_in_closed_form(pixel_sum):
    """Grey pixels are worth 1, 2, 3 and −2. The map 3, 4, 5, 7 shows them at 0, 1/4, 1/2 and 1; 2, 2, 2, 0 hides what
    speaks against the class."""
    worth = torch.tensor([[1.0, 2.0], [3.0, -2.0]])
    images = torch.full((2, 3, 2, 2), 0.5, dtype=torch.float64)
    maps = torch.tensor([[[3.0, 4.0], [5.0, 7.0]], [[2.0, 2.0], [2.0, 0.0]]])
    found = AverageDrop()(pixel_sum(worth / 1.5), images, 1, maps)
    y, lost, won = torch.sigmoid(torch.tensor([4.0, 0 + 2 / 4 + 3 / 2 - 2, 6.0], dtype=torch.float64)).tolist()
    rows = zip(*(found[name].tolist() for name in NAMES), strict=True)
    for row, expected in zip(rows, ([1 - lost / y, 0, 0, 1.75 / 4], [0, 1, (won - y) / (1 - y), 0.75]), strict=True):
        assert row == pytest.approx(expected)


@pytest.mark.parametrize("grid", [3, 9])
@pytest.mark.parametrize("rectified", [True, False])
def test_every_column_is_that_of_one_masked_image(
    grid, rectified, classifier, images, noise_maps, slow_score, worked_out
):
    pictures, maps, targets = images(12, 9), noise_maps(12, grid, grid), torch.arange(12) % 3
    grown = F.interpolate(maps.clamp(min=0)[:, None], size=(9, 9), mode="bilinear", align_corners=False)[:, 0]
    low, high = grown.amin((1, 2), keepdim=True), grown.amax((1, 2), keepdim=True)
    shown = (grown - low) / (high - low)
    _, found = worked_out(AverageDrop(), classifier, pictures, targets, maps, rectified=rectified)
    for i, target in enumerate(targets.tolist()):
        y, o = (slow_score(classifier, x, target, "probability") for x in (pictures[i], pictures[i] * shown[i]))
        expected = [max(y - o, 0) / y, float(o > y), max(o - y, 0) / (1 - y), float(shown[i].mean())]
        assert [float(found[name][i]) for name in NAMES] == pytest.approx(expected, abs=1e-8)
    assert set(found["increase"].tolist()) == {0, 1}


@pytest.mark.parametrize(("area", "count", "baseline"), [(0.5, 50, "black"), (0.295, 30, "mean"), (0.07, 7, "black")])
def test_what_an_equal_area_and_what_the_inverse_of_the_heat_map_leave(
    area, count, baseline, classifier, images, noise_maps, slow_score, slow_points, slow_order, worked_out
):
    pictures, maps, seeds = images(3, 10), noise_maps(3, 10, 10, levels=6), torch.tensor([4, 5, 6])
    metric = EqualAreaDrop(area=area, baseline=baseline)
    _, found = worked_out(metric, classifier, pictures, [0, 1, 2], maps, seeds=seeds)
    _, hidden = worked_out(AverageDropInDeletion(), classifier, pictures, [0, 1, 2], maps, seeds=seeds)
    blanks = metric.baseline(pictures, seeds)
    for i in range(3):
        y, last = slow_score(classifier, pictures[i], i, "probability"), slow_order(maps[i], int(seeds[i]))[count:]
        (o,) = slow_points(classifier, pictures[i], blanks[i], i, last, [len(last)], "probability")
        assert float(found["drop"][i]) == pytest.approx((y - o) / y, abs=1e-8)
        heat = maps[i].clamp(min=0) / maps[i].max()
        d = slow_score(classifier, pictures[i] * (1 - heat), i, "probability")
        assert float(hidden["drop"][i]) == pytest.approx((y - d) / y, abs=1e-8)
    assert (found["drop"] < 0).any()


def test_a_blurred_map_wins_by_showing_more_unless_all_show_the_same_area(pixel_sum):
    """An object of 8×8 pixels is worth something all over, and most in one place, which dims the rest of the true map.
    The map is blurred more and more."""
    worth = torch.full((16, 16), 0.01, dtype=torch.float64)
    worth[3:11, 5:13], worth[6, 7] = 1, 30
    images = 0.5 + 0.3 * torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model, true = pixel_sum(worth * 6 / worth.sum(), bias=-6.0), images.mean(1) * worth
    grades = {str(sigma): gaussian_filter(true.numpy(), (0, sigma, sigma)) for sigma in (0, 1, 2, 3)}
    plain, equal = (metric(model, images, 1, grades) for metric in (AverageDrop(), EqualAreaDrop(area=0.25)))
    falling, rising = ([float(of[name]["drop"].mean()) for name in grades] for of in (plain, equal))
    assert falling == sorted(falling, reverse=True)
    assert rising == sorted(rising)
    assert (falling[-1] < falling[0] / 2, rising[-1] > 2 * rising[0]) == (True, True), (falling, rising)


@pytest.mark.parametrize("method", [GradCAM, HiResCAM])
def test_the_heat_map_is_the_one_that_the_method_shows(method, classifier, images, worked_out):
    cam, pictures = method(classifier, target_layer="relu2"), images(4, 12)
    _, found = worked_out(AverageDrop(), classifier, pictures, 1, cam.raw(pictures, 1), rectified=method.rectified)
    shown = AverageDrop()(classifier, pictures, 1, cam(pictures, 1))
    for name in NAMES:
        torch.testing.assert_close(found[name], shown[name], atol=1e-6, rtol=0)
    assert found["drop"].max() > 0


@pytest.mark.parametrize(("value", "shown"), [(0.3, 1), (0.0, 0), (-1.0, 0)])
def test_a_constant_map_shows_everything_where_it_is_positive_and_else_nothing(
    value, shown, classifier, images, slow_score
):
    pictures = images(3, 6)
    found = AverageDrop()(classifier, pictures, 1, torch.full((3, 2, 2), value))
    assert found["shown"].tolist() == [shown] * 3
    for i, picture in enumerate(pictures):
        y, o = (slow_score(classifier, x, 1, "probability") for x in (picture, shown * picture))
        assert [float(found[name][i]) for name in ("drop", "gain")] == pytest.approx(
            [max(y - o, 0) / y, max(o - y, 0) / (1 - y)], abs=1e-12
        )


def test_without_a_probability_to_lose_or_to_win_nothing_is_defined(pixel_sum):
    image, maps = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64), torch.rand(1, 2, 2)
    sure, absent = (AverageDrop()(pixel_sum(torch.ones(2, 2), bias=b), image, 1, maps) for b in (50.0, -50.0))
    assert sure["gain"].isnan().all()
    assert float(sure["drop"]) == pytest.approx(0, abs=1e-12)
    assert absent["drop"].isnan().all()
    assert float(absent["gain"]) == pytest.approx(0, abs=1e-12)


def test_a_network_that_answers_nan_for_the_masked_image_has_neither_lost_nor_won():
    class Fragile(nn.Module):
        def forward(self, x):
            return torch.where((x == 0).flatten(1).any(1)[:, None], torch.nan, x.flatten(1)[:, :2])

    found = AverageDrop()(Fragile(), torch.rand(1, 3, 2, 2) + 1, 1, torch.eye(2)[None])
    assert all(found[name].isnan().all() for name in ("drop", "increase", "gain"))


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


def test_equal_heat_maps_are_masked_once(classifier, images, noise_maps, watched):
    """Maps are rectified before they are upsampled: a signed map and its own upsampling are two."""
    case = Case.of(classifier, images(2, 24), 0)
    seen, engine = watched(classifier.network), Engine(classifier)
    maps, (probe,) = noise_maps(2, 3, 3), AverageDrop().probes(None, 576)
    named = {"it": maps, "doubled": 2 * maps, "rectified": maps.clamp(min=0), "upsampled": Maps(maps, case).signed}
    answers = engine.answer(case, {name: (Maps(m, case), [probe]) for name, m in named.items()})
    assert sum(map(len, seen)) == 2 * 2
    assert engine.meter.shared == 2 * 2
    alone = Engine(classifier).answer(case, {"it": (Maps(named["upsampled"], case), [Masked()])})
    assert torch.equal(answers["upsampled"][probe].logit, alone["it"][probe].logit)
    assert (answers["upsampled"][probe].logit != answers["it"][probe].logit).all()
