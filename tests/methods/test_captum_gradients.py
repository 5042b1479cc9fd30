"""Captum's plain gradients under our rules: known values, loops with the same draws, and captum's own call."""

import numpy as np
import pytest
import torch

from camfaith.methods import GradCAM, GradientShap, InputXGradient, IntegratedGradients, LayerGradCam, Saliency
from camfaith.methods.attribution import noise_baselines
from camfaith.models import Classifier


def test_input_x_gradient_of_a_linear_model_is_weight_times_pixel(linear_model, images):
    model, pictures = linear_model(5, 6), images(2, 5, 6)
    expected = torch.stack([(model.weight[1] * pictures[0]).sum(0), (model.weight[0] * pictures[1]).sum(0)])
    torch.testing.assert_close(InputXGradient(model).raw(pictures, [1, 0]), expected.detach(), rtol=1e-12, atol=1e-12)


def test_saliency_of_a_linear_model_is_the_largest_weight_of_a_pixel(linear_model, images):
    model = linear_model(5, 6)
    expected = model.weight[1].abs().amax(0).expand(2, 5, 6)
    torch.testing.assert_close(Saliency(model).raw(images(2, 5, 6), 1), expected.detach(), rtol=1e-12, atol=1e-12)


def test_integrated_gradients_of_a_linear_model_are_exact(linear_model, images):
    model, pictures = linear_model(5, 6), images(2, 5, 6)
    expected = (model.weight[1] * pictures).sum(1).detach()  # to captum's single-precision step sizes
    torch.testing.assert_close(IntegratedGradients(model, n_steps=2).raw(pictures, 1), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "side", "tolerance"),
    [("fundus-resnet", 40, 0.03), ("fundus-vgg", 96, 0.1), ("fundus-effnet", 40, 1e-6)],  # kinks cost, SiLU has none
)
def test_integrated_gradients_sum_to_the_score_less_that_of_black(reference, images, name, side, tolerance):
    classifier, pictures = reference(name), images(2, side)
    black = torch.zeros_like(pictures)
    expected = classifier.scores(pictures)[:, 3] - classifier.scores(black)[:, 3]
    found = IntegratedGradients(classifier, n_steps=48).raw(pictures, 3).sum((1, 2))
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize(("name", "layer"), [("fundus-vgg", "features.10"), ("fundus-effnet", "features.4")])
def test_captums_gradcam_is_ours(reference, images, name, layer):
    classifier, pictures = reference(name), images(2, 96)
    ours, theirs = (method(classifier, layer).raw(pictures, [0, 3]) for method in (GradCAM, LayerGradCam))
    torch.testing.assert_close(theirs, ours, rtol=1e-9, atol=1e-9 * float(ours.abs().max()))


def test_gradient_shap_of_a_linear_model_against_black_is_exact(linear_model, images):
    model, pictures = linear_model(5, 6), images(2, 5, 6)
    expected = (model.weight[1] * pictures).sum(1).detach()
    torch.testing.assert_close(GradientShap(model, baselines=1).raw(pictures, 1), expected, rtol=1e-12, atol=1e-12)


def test_gradient_shap_is_the_mean_over_draws_of_the_gradient_between_a_baseline_and_the_image(tiny, images):
    picture, seed = images(1, 9), 8
    draws = np.random.RandomState(seed)
    chosen, shares = draws.choice(4, 6), draws.uniform(0, 1, 6)
    baselines = noise_baselines(picture[0], 4, seed)
    expected = torch.zeros(3, 9, 9, dtype=torch.float64)
    for index, share in zip(chosen, shares, strict=True):
        between = (share * picture[0] + (1 - share) * baselines[index]).requires_grad_()
        (gradient,) = torch.autograd.grad(tiny(between[None])[0, 2], between)
        expected += (picture[0] - baselines[index]) * gradient / 6
    evidence = Classifier(tiny).evidence(picture, 2, seeds=torch.tensor([seed]))
    found = GradientShap(tiny, samples=6, baselines=4).explain(evidence, Classifier(tiny))
    torch.testing.assert_close(found[0], expected.sum(0))


def test_the_baselines_are_black_and_noise_of_the_images_own_seed(images):
    picture = images(1, 9)[0]
    first, again, other = (noise_baselines(picture, 3, seed) for seed in (4, 4, 5))
    assert (first[0] == 0).all()
    assert torch.equal(first, again)
    assert not (first[1:] == other[1:]).any()
    assert not (first[1] == first[2]).any()
    assert float(first[1:].min()) < 0.01 < 0.99 < float(first[1:].max())
