"""Infidelity against captum, perturbation by perturbation, and where its value is known."""

import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from torch.nn import functional as F

from camfaith.metrics import Engine, Infidelity
from camfaith.metrics.infidelity import Perturbed
from camfaith.metrics.probing.case import Case, Maps
from camfaith.models import Classifier
from camfaith.models.speed.setup import Setup

LIKE = torch.zeros(1, dtype=torch.float64)


def judged(metric, model, images, targets, maps, **reading):
    classifier = Classifier.of(model)
    case = Case.of(classifier, images, targets)
    given = Maps(maps, case, **reading)
    answers = Engine(classifier).answer(case, {"it": (given, metric.probes(None, case.pixels))})["it"]
    return metric.judge(case, given, answers)


@pytest.fixture
def linear(pixel_sum, noise_maps):
    """A linear model of 8×8 pixels, and its gradient summed over colours: what a perturbation of a pixel costs."""
    weight = noise_maps(1, 8, 8, seed=1)[0]
    return pixel_sum(weight, bias=0.7), 3 * weight


def test_the_gradient_of_a_linear_model_has_no_infidelity(linear, images):
    model, gradient = linear
    found = Infidelity()(model, images(3, 8), 1, gradient.expand(3, -1, -1))
    torch.testing.assert_close(found["infidelity"], torch.zeros(3, dtype=torch.float64), atol=1e-10, rtol=0)
    torch.testing.assert_close(found["infidelity_scaled"], torch.zeros(3, dtype=torch.float64), atol=1e-10, rtol=0)
    torch.testing.assert_close(found["scale"], torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("times", [1e-6, 0.5, 10, 1e6, -2])
def test_the_scale_of_the_map_is_found_and_taken_out(times, linear, images, noise_maps):
    model, gradient = linear
    pictures = images(3, 8)
    true = Infidelity()(model, pictures, 1, times * gradient.expand(3, -1, -1))
    torch.testing.assert_close(true["infidelity_scaled"], torch.zeros(3, dtype=torch.float64), atol=1e-10, rtol=0)
    torch.testing.assert_close(true["scale"] * times, torch.ones(3, dtype=torch.float64))
    maps = noise_maps(3, 8, 8)
    one, other = (Infidelity()(model, pictures, 1, m)["infidelity_scaled"] for m in (maps, times * maps))
    torch.testing.assert_close(one, other)


def test_the_infidelity_of_a_linear_model_is_how_far_the_map_is_from_its_gradient(linear, images, noise_maps):
    """E(Iᵀ(M − g))² = σ²‖M − g‖²; its relative spread over n samples is √(2/n)."""
    model, gradient = linear
    maps = noise_maps(4, 8, 8)
    found = Infidelity(samples=2000, sigma=0.3)(model, images(4, 8), 1, maps)["infidelity"]
    expected = 0.09 * (maps - gradient).square().sum((1, 2))
    assert ((found / expected - 1).abs() < 4 * (2 / 2000) ** 0.5).all()


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_every_column_is_that_of_one_forward_per_perturbation(score, classifier, images, noise_maps, slow_score):
    metric = Infidelity(samples=9, sigma=0.1, score=score, seed=3)
    pictures, maps, targets = images(3, 6, 8), noise_maps(3, 3, 4), [0, 1, 2]
    grown = F.interpolate(maps[:, None], size=(6, 8), mode="bilinear", align_corners=False)[:, 0]
    perturbations = Perturbed(9, 0.1, 3).perturbations(48, LIKE).view(9, 6, 8)
    found = metric(classifier, pictures, targets, maps, batch_size=4)
    for i in range(3):
        whole = slow_score(classifier, pictures[i], targets[i], score)
        pairs = []
        for moved in perturbations:
            told = sum(float(moved[r, c]) * float(grown[i, r, c]) for r in range(6) for c in range(8))
            pairs.append((told, whole - slow_score(classifier, pictures[i] - moved, targets[i], score)))
        scale = sum(told * delta for told, delta in pairs) / sum(told**2 for told, _ in pairs)
        assert float(found["scale"][i]) == pytest.approx(scale, abs=1e-9)
        expected = sum((told - delta) ** 2 for told, delta in pairs) / 9
        assert float(found["infidelity"][i]) == pytest.approx(expected, abs=1e-9)
        expected = sum((scale * told - delta) ** 2 for told, delta in pairs) / 9
        assert float(found["infidelity_scaled"][i]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("normalize", "column"), [(False, "infidelity"), (True, "infidelity_scaled")])
def test_captum_says_the_same(normalize, column, classifier, images, noise_maps):
    metric = Infidelity(samples=20, sigma=0.2)
    pictures, maps, targets = images(4, 8), noise_maps(4, 8, 8), torch.tensor([0, 1, 2, 1])
    (probe,) = metric.probes(None, 64)
    perturbations = probe.perturbations(64, LIKE).view(20, 1, 8, 8).expand(-1, 3, -1, -1)

    def perturb(inputs):  # every image twenty times, one after the other
        drawn = perturbations.repeat(4, 1, 1, 1)
        return drawn, inputs - drawn

    attributions = (maps / 3)[:, None].expand(-1, 3, -1, -1)
    expected = captum_infidelity(
        classifier, perturb, pictures, attributions, target=targets, n_perturb_samples=20, normalize=normalize
    )
    found = metric(classifier, pictures, targets, maps)[column]
    torch.testing.assert_close(found, expected.detach(), atol=1e-6, rtol=1e-6)
    assert found.min() > 1e-5


def test_the_best_scale_is_better_than_any_other(classifier, images, noise_maps):
    given = (classifier, images(3, 8), 1)
    maps = noise_maps(3, 8, 8) / 100
    found = Infidelity()(*given, maps)
    for times in (0.9, 1.1):
        other = Infidelity()(*given, maps * (times * found["scale"]).view(-1, 1, 1))["infidelity"]
        assert (other > found["infidelity_scaled"]).all()


def test_the_map_is_read_with_its_signs_even_where_the_method_rectifies(linear, images):
    model, gradient = linear
    assert gradient.min() < 0
    found = judged(Infidelity(), model, images(2, 8), 1, gradient.expand(2, -1, -1), rectified=True)
    torch.testing.assert_close(found["infidelity"], torch.zeros(2, dtype=torch.float64), atol=1e-10, rtol=0)


def test_an_offset_of_the_map_does_matter(linear, images):
    model, gradient = linear
    found = Infidelity()(model, images(2, 8), 1, gradient.expand(2, -1, -1) + 5)
    assert found["infidelity_scaled"].min() > 0.1


def test_a_zero_map_has_no_scale(classifier, images, slow_score):
    picture = images(1, 6)
    found = Infidelity(samples=5)(classifier, picture, 0, torch.zeros(1, 6, 6))
    assert found["scale"].isnan().all()
    assert found["infidelity_scaled"].isnan().all()
    moved = Perturbed(5, 0.2).perturbations(36, LIKE).view(5, 6, 6)
    whole = slow_score(classifier, picture[0], 0, "logit")
    drops = [whole - slow_score(classifier, picture[0] - m, 0, "logit") for m in moved]
    assert float(found["infidelity"]) == pytest.approx(sum(d**2 for d in drops) / 5)


def test_a_model_that_feels_nothing_is_foretold_by_the_scale_zero(pixel_sum, images, noise_maps):
    found = Infidelity()(pixel_sum(torch.zeros(6, 6), bias=3.0), images(2, 6), 1, noise_maps(2, 6, 6))
    assert found["scale"].tolist() == [0, 0]
    assert found["infidelity_scaled"].tolist() == [0, 0]
    assert found["infidelity"].min() > 0


def test_perturbations_are_scored_once_for_all_methods(classifier, images, noise_maps, watched):
    case, metric = Case.of(classifier, images(3, 9), 0), Infidelity(samples=7)
    seen = watched(classifier.network)
    arms = {label: (Maps(noise_maps(3, 9, 9, seed=label), case), metric.probes(None, 81)) for label in range(4)}
    Engine(classifier, Setup(batch_size=5)).answer(case, arms)
    assert sum(map(len, seen)) == 3 * 7


def test_all_images_and_colours_are_perturbed_alike_and_nothing_is_clipped(tiny, watched):
    seen = watched(tiny)
    pictures = torch.stack([torch.full((3, 6, 6), grey, dtype=torch.float64) for grey in (0.0, 0.5, 1.0)])
    Infidelity(samples=8, sigma=0.5)(tiny, pictures, 0, torch.rand(3, 6, 6), batch_size=5)
    moved = pictures[:, None] - torch.cat(seen[1:]).view(3, 8, 3, 6, 6)
    expected = Perturbed(8, 0.5).perturbations(36, LIKE).view(8, 1, 6, 6).expand(-1, 3, -1, -1)
    for image in moved:
        torch.testing.assert_close(image, expected, atol=1e-12, rtol=0)
    altered = torch.cat(seen[1:])
    assert altered.min() < 0
    assert altered.max() > 1


def test_perturbations_are_gaussian():
    drawn = Perturbed(500, 0.3, 1).perturbations(400, LIKE)
    assert abs(float(drawn.mean())) < 4 * 0.3 / 200_000**0.5
    assert float(drawn.std()) == pytest.approx(0.3, rel=0.01)
    assert float((drawn.abs() < 0.3).double().mean()) == pytest.approx(0.6827, abs=0.01)
    assert not torch.equal(drawn, Perturbed(500, 0.3, 2).perturbations(400, LIKE))


def test_perturbations_have_the_precision_of_the_images(tiny, images):
    half = Perturbed(4, 0.2).perturbations(36, torch.zeros(1, dtype=torch.bfloat16))
    assert half.dtype == torch.bfloat16
    found = Infidelity(samples=4)(tiny.bfloat16(), images(2, 6), 0, torch.rand(2, 6, 6))
    assert found["infidelity_scaled"].dtype == torch.float64
    assert found["infidelity_scaled"].isfinite().all()


def test_a_batch_is_as_good_as_its_images_one_by_one(classifier, images, noise_maps):
    pictures, maps = images(5, 12), noise_maps(5, 3, 3)
    metric = Infidelity(samples=11)
    together = metric(classifier, pictures, 1, maps, batch_size=3)
    for i in range(5):
        alone = metric(classifier, pictures[i : i + 1], 1, maps[i : i + 1])
        for column, value in alone.items():
            torch.testing.assert_close(together[column][i : i + 1], value, atol=1e-11, rtol=0)
