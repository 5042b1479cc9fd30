"""Infidelity against captum, perturbation by perturbation, and where its value is known."""

import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from torch.nn import functional as F

from camfaith.metrics import Infidelity
from camfaith.metrics.infidelity import Perturbed

LIKE = torch.zeros(1, dtype=torch.float64)


@pytest.fixture
def linear(pixel_sum, noise_maps):
    """A linear model of 8×8 pixels, and its gradient summed over colours: what a perturbation of a pixel costs."""
    weight = noise_maps(1, 8, 8, seed=1)[0]
    return pixel_sum(weight, bias=0.7), 3 * weight


@pytest.mark.parametrize("times", [1, 1e-6, 0.5, 1e6, -2])
def test_the_gradient_of_a_linear_model_has_no_infidelity_once_its_scale_is_taken_out(
    times, linear, images, worked_out
):
    """A method that rectifies is read with its signs all the same."""
    model, gradient = linear
    _, found = worked_out(Infidelity(), model, images(3, 8), 1, times * gradient.expand(3, -1, -1), rectified=True)
    assert found["infidelity_scaled"].tolist() == pytest.approx([0] * 3, abs=1e-10)
    assert (found["scale"] * times).tolist() == pytest.approx([1] * 3)
    if times == 1:
        assert found["infidelity"].tolist() == pytest.approx([0] * 3, abs=1e-10)


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
        for column, times in (("infidelity", 1), ("infidelity_scaled", scale)):
            expected = sum((times * told - delta) ** 2 for told, delta in pairs) / 9
            assert float(found[column][i]) == pytest.approx(expected, abs=1e-9)


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


def test_a_zero_map_has_no_scale_and_a_model_that_feels_nothing_the_scale_zero(
    classifier, pixel_sum, images, noise_maps
):
    found = Infidelity(samples=5)(classifier, images(1, 6), 0, torch.zeros(1, 6, 6))
    assert found["scale"].isnan().all()
    assert found["infidelity_scaled"].isnan().all()
    assert found["infidelity"].isfinite().all()
    found = Infidelity()(pixel_sum(torch.zeros(6, 6), bias=3.0), images(2, 6), 1, noise_maps(2, 6, 6))
    assert found["scale"].tolist() == found["infidelity_scaled"].tolist() == [0, 0]


def test_perturbations_are_gaussian_and_have_the_precision_of_the_images():
    drawn = Perturbed(500, 0.3, 1).perturbations(400, LIKE)
    assert abs(float(drawn.mean())) < 4 * 0.3 / 200_000**0.5
    assert float(drawn.std()) == pytest.approx(0.3, rel=0.01)
    assert float((drawn.abs() < 0.3).double().mean()) == pytest.approx(0.6827, abs=0.01)
    assert not torch.equal(drawn, Perturbed(500, 0.3, 2).perturbations(400, LIKE))
    assert Perturbed(4, 0.2).perturbations(36, LIKE.bfloat16()).dtype == torch.bfloat16
