"""Infidelity against captum, perturbation by perturbation, and where its value is known."""

from dataclasses import replace

import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from torch.nn import functional as F

from camfaith.metrics import Cells, Infidelity, Pixels
from camfaith.metrics.infidelity import Perturbed, infidelity

LIKE = torch.zeros(1, dtype=torch.float64)
PAPER = {"perturbation": "noise", "features": "pixels", "sigma": 0.2}


@pytest.fixture
def linear(pixel_sum, noise_maps):
    """A linear model of 8×8 pixels, and its gradient summed over colours: what a perturbation of a pixel costs."""
    weight = noise_maps(1, 8, 8, seed=1)[0]
    return pixel_sum(weight, bias=0.7), 3 * weight


@pytest.mark.parametrize(("times", "settings"), [(1, {}), (1, PAPER), (1e-6, {}), (1e6, PAPER), (-2, {})])
def test_what_is_right_for_a_linear_model_has_no_infidelity_once_its_scale_is_taken_out(
    times, settings, linear, images, worked_out
):
    """A method that rectifies is read with its signs all the same."""
    (model, gradient), pictures = linear, images(3, 8)
    right = gradient.expand(3, -1, -1) if settings else pictures.sum(1) * gradient / 3
    _, found = worked_out(Infidelity(**settings), model, pictures, 1, times * right, rectified=True)
    assert found["infidelity_scaled"].tolist() == pytest.approx([0] * 3, abs=1e-10)
    assert found["explained"].tolist() == pytest.approx([1] * 3)
    assert (found["scale"] * times).tolist() == pytest.approx([1] * 3)
    if times == 1:
        assert found["infidelity"].tolist() == pytest.approx([0] * 3, abs=1e-10)


def test_the_infidelity_of_a_linear_model_is_how_far_the_map_is_from_its_gradient(linear, images, noise_maps):
    """E(zᵀ(M − g))² = σ²‖M − g‖²; its relative spread over n samples is √(2/n)."""
    model, gradient = linear
    maps = noise_maps(4, 8, 8)
    metric = Infidelity(**PAPER | {"sigma": 0.3}, samples=2000)
    found = metric(model, images(4, 8), 1, maps)["infidelity"]
    expected = 0.09 * (maps - gradient).square().sum((1, 2))
    assert ((found / expected - 1).abs() < 4 * (2 / 2000) ** 0.5).all()


def test_what_a_map_explains_of_a_linear_model_is_its_cosine_with_the_right_one_squared(linear, images, noise_maps):
    """explained → cos²(M, g) for z ~ N(0, σ²): a map that says a tenth of it explains a tenth, whatever σ."""
    model, gradient = linear
    maps = noise_maps(4, 8, 8)
    found = Infidelity(**PAPER, samples=4000)(model, images(4, 8), 1, gradient + maps)["explained"]
    cosine = torch.nn.functional.cosine_similarity((gradient + maps).flatten(1), gradient.flatten()[None])
    torch.testing.assert_close(found, cosine.square(), atol=0.05, rtol=0)


CELLS = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1], [2, 2, 2, 2, 3, 3, 3, 3]]).repeat_interleave(3, 0)


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("perturbation", ["fade", "noise"])
def test_every_column_is_that_of_one_forward_per_perturbation(
    perturbation, score, classifier, images, noise_maps, slow_score
):
    metric = Infidelity(perturbation=perturbation, features=Cells(2), baseline="mean", samples=9, score=score, seed=3)
    pictures, maps, targets, seeds = images(3, 6, 8), noise_maps(3, 3, 4), [0, 1, 2], torch.tensor([5, 6, 7])
    grown = F.interpolate(maps[:, None], size=(6, 8), mode="bilinear", align_corners=False)[:, 0]
    found = metric(classifier, pictures, targets, maps, batch_size=4, seeds=seeds)
    (probe,) = metric.probes(None, 48)
    drawn = [probe.factors(4, int(seed), LIKE) for seed in seeds]
    assert not torch.equal(drawn[0], drawn[1])
    for i in range(3):
        whole = slow_score(classifier, pictures[i], targets[i], score)
        mean = pictures[i].mean((1, 2), keepdim=True)
        pairs = []
        for z in drawn[i]:
            told = sum(float(z[CELLS[r, c]]) * float(grown[i, r, c]) for r in range(6) for c in range(8))
            moved = z[CELLS] * (pictures[i] - mean) if perturbation == "fade" else z[CELLS].expand(3, 6, 8)
            pairs.append((told, whole - slow_score(classifier, pictures[i] - moved, targets[i], score)))
        scale = sum(told * delta for told, delta in pairs) / sum(told**2 for told, _ in pairs)
        assert float(found["scale"][i]) == pytest.approx(scale, abs=1e-9)
        for column, times in (("infidelity", 1), ("infidelity_scaled", scale)):
            expected = sum((times * told - delta) ** 2 for told, delta in pairs) / 9
            assert float(found[column][i]) == pytest.approx(expected, abs=1e-9)
        share = 1 - float(found["infidelity_scaled"][i]) / (sum(delta**2 for _, delta in pairs) / 9)
        assert float(found["explained"][i]) == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize(("normalize", "column"), [(False, "infidelity"), (True, "infidelity_scaled")])
def test_captum_says_the_same(normalize, column, classifier, images, noise_maps):
    metric = Infidelity(**PAPER, samples=20)
    pictures, maps, targets = images(4, 8), noise_maps(4, 8, 8), torch.tensor([0, 1, 2, 1])
    (probe,) = metric.probes(None, 64)
    perturbations = probe.factors(64, 0, LIKE).view(20, 1, 8, 8).expand(-1, 3, -1, -1)

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
    assert found["explained"].isnan().all()
    moving = infidelity(torch.ones(1, 2), torch.eye(2)[None], torch.tensor([[3.0, 4.0]]), noise=5.0)
    assert moving["explained"].isnan().all()


def test_factors_are_gaussian_and_have_the_precision_of_the_images():
    probe = Perturbed(500, 0.3, Pixels(), None, 1)
    drawn = probe.factors(400, 7, LIKE)
    assert abs(float(drawn.mean())) < 4 * 0.3 / 200_000**0.5
    assert float(drawn.std()) == pytest.approx(0.3, rel=0.01)
    assert float((drawn.abs() < 0.3).double().mean()) == pytest.approx(0.6827, abs=0.01)
    assert not torch.equal(drawn, replace(probe, seed=2).factors(400, 7, LIKE))
    assert probe.factors(36, 7, LIKE.bfloat16()).dtype == torch.bfloat16
